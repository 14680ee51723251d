//! Runs each test of the suite on each of the three databases, and on PostgreSQL behind a pooler.

use crate::{
    TestDatabase, cancelled, expired, extras, last_logins, migrations, queue, sessions, transactions, users,
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
    migrations::concurrent_migrations_apply_each_migration_once,
    migrations::migrations_unknown_or_changed_are_an_error,
    migrations::without_a_schema_statements_are_refused,
    migrations::a_migration_applied_but_not_recorded_runs_again,
    migrations::all_daemons_share_one_secret,
    users::an_inserted_user_is_read_back,
    users::holders_are_found_by_each_column,
    users::comparison_is_byte_exact,
    users::users_are_listed_by_name_page_by_page,
    users::an_update_changes_all_columns_but_the_last_login,
    users::an_administrator_is_created_once_and_audited,
    users::deleted_users_leave_tombstones,
    transactions::a_unique_index_conflict_prevents_the_commit,
    transactions::a_dropped_batch_is_rolled_back_before_connection_reuse,
    transactions::a_read_for_update_waits_for_earlier_locks,
    transactions::more_rows_than_the_largest_shape_are_written,
    queue::outcomes_and_audit_are_stored_unchanged,
    queue::parked_commands_come_in_their_order,
    extras::deferred_columns_show_at_once_and_are_merged_later,
    extras::an_update_or_deletion_removes_deferred_columns,
    expired::one_pass_deletes_a_large_backlog_and_allows_writes,
    expired::a_pass_over_its_time_limit_continues_in_the_next,
    expired::many_rows_of_one_instant_are_deleted,
    expired::two_daemons_can_delete_at_once,
    expired::an_audit_row_outlives_its_outcome_and_the_configured_retention,
    expired::a_name_deleted_again_keeps_its_newer_tombstone,
    expired::a_failing_table_does_not_stop_other_tables,
    expired::a_failing_table_reports_its_retention_lag,
    expired::the_audit_reports_its_lag_while_outcomes_fail,
    expired::nothing_is_deleted_while_migrations_are_pending,
    sessions::a_session_moves_on_one_generation_at_a_time,
    sessions::concurrent_rotations_of_a_generation_succeed_once,
    sessions::an_ended_session_stays_ended_with_and_without_a_row,
    sessions::an_ended_session_row_outlives_its_last_token,
    sessions::expired_sessions_are_deleted,
    last_logins::only_later_times_of_existing_users_are_written,
    last_logins::a_login_of_a_former_user_is_not_written,
    last_logins::more_times_than_the_largest_shape_are_written,
    last_logins::a_concurrent_change_keeps_the_login_time,
    last_logins::login_times_and_changes_do_not_deadlock,
    cancelled::a_dropped_call_leaves_no_reply_for_the_next,
}
