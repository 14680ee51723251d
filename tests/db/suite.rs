//! Each test of the suite on each of the three databases, and on PostgreSQL behind a pooler.

use crate::{
    TestDatabase, cancelled, extras, housekeeping, last_logins, migrations, queue, sessions, transactions,
    users,
};
use support::services;

macro_rules! on_each_database {
    ($($module:ident :: $test:ident,)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $module::$test(&TestDatabase::sqlite()).await;
            })*
        }

        mod mariadb {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(url) = services::mariadb(stringify!($test)) else { return };
                $module::$test(&TestDatabase::server(url)).await;
            })*
        }

        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(url) = services::postgres(stringify!($test)) else { return };
                $module::$test(&TestDatabase::server(url)).await;
            })*
        }

        mod pgbouncer {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(urls) = services::pooled_postgres(stringify!($test)) else { return };
                $module::$test(&TestDatabase::behind_pooler(urls)).await;
            })*
        }
    };
}

on_each_database! {
    migrations::four_that_migrate_at_once_apply_each_migration_once,
    migrations::what_another_version_applied_or_changed_is_an_error,
    migrations::without_a_schema_statements_are_refused_and_nothing_else_breaks,
    migrations::what_was_done_and_not_recorded_is_no_obstacle,
    migrations::all_daemons_share_one_secret,
    users::what_was_inserted_is_read_back,
    users::holders_are_found_by_each_column,
    users::comparison_is_byte_exact,
    users::users_are_listed_by_name_page_by_page,
    users::an_update_changes_all_but_the_last_login_in_the_order_of_rows,
    users::an_administrator_is_made_once_and_the_audit_says_so,
    users::deleted_users_leave_tombstones,
    transactions::each_unique_index_is_a_conflict_and_a_failed_batch_cannot_be_committed,
    transactions::a_dropped_batch_is_rolled_back_before_its_connection_is_used_again,
    transactions::who_reads_for_update_waits_for_who_did_before,
    transactions::rows_beyond_every_shape_are_written_and_found,
    queue::outcomes_and_audit_are_kept_as_they_are,
    queue::parked_commands_come_in_their_order,
    extras::what_is_put_off_shows_at_once_and_is_merged_later,
    extras::a_later_update_or_deletion_settles_what_was_put_off,
    housekeeping::one_pass_deletes_a_large_backlog_and_lets_others_write,
    housekeeping::a_pass_whose_time_is_over_says_so_and_the_next_one_goes_on,
    housekeeping::many_rows_of_one_instant_are_no_obstacle,
    housekeeping::two_daemons_that_delete_at_once_do_not_hinder_each_other,
    housekeeping::a_row_of_the_audit_stays_as_long_as_its_outcome_and_as_long_as_configured,
    housekeeping::a_name_that_was_deleted_anew_keeps_its_newer_tombstone,
    housekeeping::a_table_that_refuses_keeps_no_other_from_being_cleared,
    housekeeping::a_table_that_cannot_be_cleared_shows_how_far_it_is_behind,
    housekeeping::the_audit_shows_that_it_is_behind_while_outcomes_cannot_be_cleared,
    housekeeping::nothing_is_deleted_while_migrations_are_pending,
    sessions::a_session_moves_on_one_generation_at_a_time,
    sessions::of_many_who_rotate_one_generation_one_does_and_the_others_repeat,
    sessions::an_ended_session_stays_ended_with_and_without_a_row,
    sessions::an_ended_session_is_remembered_as_long_as_its_last_token,
    sessions::expired_sessions_go,
    last_logins::only_later_times_of_users_who_exist_are_written,
    last_logins::a_login_of_a_former_user_of_the_name_is_not_written,
    last_logins::times_beyond_every_shape_are_written,
    last_logins::a_change_under_way_leaves_the_login_time_alone,
    last_logins::times_and_changes_of_the_same_users_do_not_lock_each_other_for_good,
    cancelled::a_call_that_is_dropped_half_way_leaves_no_answer_for_the_next,
}
