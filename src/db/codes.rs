//! Classification of the databases' error codes.
//!
//! A `Refused` error sends a command to the dead letters in the end. It is therefore only for errors that the same
//! statement with the same data will always cause. An error caused by the state of the server, of an account or of
//! another transaction is `Busy`. A statement that the server cancelled because it took too long is `TimedOut`.

/// The class of an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    Conflict,
    Busy,
    TimedOut,
    Refused,
}

/// The state of the connection on which an error code arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The next statement may succeed on this connection.
    Usable,
    /// The session has ended, or its prepared statements are stale. Another connection to the same server may work.
    Stale,
    /// The server accepts no writes, for example the old primary after a failover. This connection and all older ones
    /// are useless for writes. A new connection may reach the server's successor.
    Demoted,
}

/// Classifies a connection by MySQL's and MariaDB's error numbers.
pub(super) fn mysql_connection_state(number: u16) -> ConnectionState {
    match number {
        // Read-only: by an option, by the transaction, by the server's mode, by replication; not part of its cluster.
        1290 | 1792 | 1836 | 3100 | 1047 => ConnectionState::Demoted,
        // Shutting down, connection killed or lost, disconnected.
        1053 | 1077 | 1079 | 1080 | 1094 | 1927 | 2006 | 2013 | 3169 | 4031 => ConnectionState::Stale,
        // A prepared statement no longer exists, or belongs to a table that was changed too often.
        1243 | 1615 => ConnectionState::Stale,
        _ => ConnectionState::Usable,
    }
}

/// Classifies a connection by PostgreSQL's SQLSTATE.
pub(super) fn postgres_connection_state(state: &str) -> ConnectionState {
    match state {
        // Read-only transaction; a standby reports it too.
        "25006" => ConnectionState::Demoted,
        // The session was ended: idle for too long (in a transaction or at all), by an administrator, or by a crash.
        "25P03" | "25P04" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => ConnectionState::Stale,
        // A prepared statement no longer exists, or its plan's columns changed with the schema.
        "26000" | "0A000" => ConnectionState::Stale,
        _ if state.starts_with("08") => ConnectionState::Stale,
        _ => ConnectionState::Usable,
    }
}

/// Classifies a connection by SQLite's extended result codes.
pub(super) fn sqlite_connection_state(code: i32) -> ConnectionState {
    match code & 0xff {
        // Read-only: the file was moved or mounted again. Not a database: the file was replaced.
        8 | 26 => ConnectionState::Stale,
        _ => ConnectionState::Usable,
    }
}

/// Classifies MySQL's and MariaDB's error numbers.
pub(super) fn mysql(number: u16) -> ErrorClass {
    match number {
        // Duplicate entry, in its variants.
        1022 | 1062 | 1169 | 1586 | 1859 => ErrorClass::Conflict,
        // Exceeded its time limit.
        1969 | 3024 => ErrorClass::TimedOut,
        // Lock wait timeout, deadlock, row changed since it was read, statement interrupted.
        1205 | 1213 | 1020 | 1317 | 1028 => ErrorClass::Busy,
        // Too many connections, in total or for one account; account limits; too many prepared statements.
        1040 | 1203 | 1226 | 1461 => ErrorClass::Busy,
        // Shutting down, connection killed or lost, host blocked, network and handshake errors.
        1053 | 1077 | 1079 | 1080 | 1094 | 1129 | 1042 | 1043 | 1152 | 1158..=1161 | 1184 => ErrorClass::Busy,
        1927 | 2002 | 2003 | 2006 | 2013 | 3169 | 4031 => ErrorClass::Busy,
        // Read-only, in its variants; a cluster node that is not ready.
        1290 | 1792 | 1836 | 3100 | 1047 => ErrorClass::Busy,
        // Access denied, unknown database, no permission: an operator has to fix it; the record is not the cause.
        1044 | 1045 | 1049 | 1142 | 1143 | 1227 | 1698 | 4151 => ErrorClass::Busy,
        // Out of memory, files or disk; storage engine failure; a damaged index or table.
        1021 | 1023 | 1026 | 1030 | 1037 | 1038 | 1041 | 1114 | 1034 | 1035 | 1180 | 1181 => ErrorClass::Busy,
        // The table's definition changed meanwhile; a prepared statement no longer exists.
        1412 | 1243 | 1615 => ErrorClass::Busy,
        _ => ErrorClass::Refused,
    }
}

/// Classifies PostgreSQL's SQLSTATE.
pub(super) fn postgres(state: &str) -> ErrorClass {
    match state {
        "23505" => ErrorClass::Conflict,
        // Cancelled: exceeded its time limit.
        "57014" => ErrorClass::TimedOut,
        // Lock not available, object in use; read-only; in a failed or timed-out transaction.
        "55P03" | "55006" | "25006" | "25P02" | "25P03" | "25P04" => ErrorClass::Busy,
        // Unknown database, no permission; a prepared statement no longer exists or its plan's columns changed.
        "3D000" | "42501" | "26000" | "0A000" => ErrorClass::Busy,
        _ => match state.get(..2).unwrap_or_default() {
            // Connection, authentication, rollback (deadlock, serialisation), resources, operator intervention (shutting
            // down, cancelled), system and internal errors.
            "08" | "28" | "40" | "53" | "57" | "58" | "F0" | "XX" => ErrorClass::Busy,
            _ => ErrorClass::Refused,
        },
    }
}

/// Classifies SQLite's extended result codes.
pub(super) fn sqlite(code: i32) -> ErrorClass {
    match code {
        // Primary key, unique, row id.
        1555 | 2067 | 2579 => ErrorClass::Conflict,
        _ => match code & 0xff {
            // Internal, permission, abort, busy, locked, no memory, read-only, interrupted, input or output, damaged,
            // full, cannot open, protocol, schema changed, authorisation, not a database.
            2..=11 | 13..=15 | 17 | 23 | 26 => ErrorClass::Busy,
            _ => ErrorClass::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorClass::{Busy, Conflict, Refused, TimedOut};

    /// One row per code that can occur, in the order of the matches above.
    #[test]
    fn mysql_by_number() {
        let table = [
            (1062, Conflict, "duplicate entry"),
            (1586, Conflict, "duplicate entry with key name"),
            (1205, Busy, "lock wait timeout"),
            (1213, Busy, "deadlock"),
            (1020, Busy, "record has changed since last read"),
            (1317, Busy, "query execution was interrupted"),
            (1969, TimedOut, "max_statement_time exceeded"),
            (3024, TimedOut, "max_execution_time exceeded"),
            (1040, Busy, "too many connections"),
            (1203, Busy, "too many connections of a user"),
            (1226, Busy, "resource limit of a user"),
            (1461, Busy, "too many prepared statements"),
            (1053, Busy, "server shutdown in progress"),
            (1927, Busy, "connection was killed"),
            (4031, Busy, "disconnected because of inactivity"),
            (1129, Busy, "host is blocked"),
            (1290, Busy, "running with --read-only"),
            (1792, Busy, "read-only transaction"),
            (1836, Busy, "read-only mode"),
            (1047, Busy, "cluster node not ready"),
            (1045, Busy, "access denied for a user"),
            (1049, Busy, "unknown database"),
            (1142, Busy, "no permission for a table"),
            (1021, Busy, "disk full"),
            (1114, Busy, "table is full"),
            (1030, Busy, "error from storage engine"),
            (1412, Busy, "table definition has changed"),
            (1064, Refused, "syntax"),
            (1146, Refused, "no such table"),
            (1054, Refused, "no such column"),
            (1366, Refused, "incorrect string value"),
            (1406, Refused, "data too long"),
            (1048, Refused, "column cannot be null"),
            (1153, Refused, "packet too large"),
        ];
        for (number, class, what) in table {
            assert_eq!(mysql(number), class, "{number}: {what}");
        }
    }

    #[test]
    fn postgres_by_state() {
        let table = [
            ("23505", Conflict, "unique violation"),
            ("40001", Busy, "serialisation failure"),
            ("40P01", Busy, "deadlock"),
            ("55P03", Busy, "lock not available"),
            ("57014", TimedOut, "cancelled: statement timeout"),
            ("57P01", Busy, "admin shutdown"),
            ("57P03", Busy, "cannot connect now: starting up"),
            ("53300", Busy, "too many connections"),
            ("53100", Busy, "disk full"),
            ("25006", Busy, "read-only transaction"),
            ("25P02", Busy, "in failed transaction"),
            ("25P03", Busy, "idle in transaction timeout"),
            ("08006", Busy, "connection failure"),
            ("28P01", Busy, "wrong password"),
            ("3D000", Busy, "no such database"),
            ("42501", Busy, "no permission"),
            ("58030", Busy, "input or output error"),
            ("XX001", Busy, "data corrupted"),
            ("0A000", Busy, "cached plan must not change its result"),
            ("42601", Refused, "syntax"),
            ("42P01", Refused, "no such table"),
            ("22021", Refused, "character not in repertoire"),
            ("23502", Refused, "not null violation"),
            ("54000", Refused, "too large for an index"),
            ("", Refused, "no state"),
        ];
        for (state, class, what) in table {
            assert_eq!(postgres(state), class, "{state}: {what}");
        }
    }

    #[test]
    fn sqlite_by_extended_code() {
        let table = [
            (2067, Conflict, "unique"),
            (1555, Conflict, "primary key"),
            (5, Busy, "busy"),
            (517, Busy, "busy: snapshot"),
            (6, Busy, "locked"),
            (8, Busy, "read-only"),
            (9, Busy, "interrupted"),
            (266, Busy, "read error"),
            (11, Busy, "damaged"),
            (13, Busy, "full"),
            (14, Busy, "cannot open"),
            (1, Refused, "no such table, syntax"),
            (18, Refused, "too big"),
            (1299, Refused, "not null"),
            (3091, Refused, "wrong type for a strict table"),
        ];
        for (code, class, what) in table {
            assert_eq!(sqlite(code), class, "{code}: {what}");
        }
    }

    #[test]
    fn errors_that_make_a_connection_useless_close_it() {
        use ConnectionState::{Demoted, Stale, Usable};
        for number in [1290, 1792, 1836, 1047] {
            assert_eq!((mysql(number), mysql_connection_state(number)), (Busy, Demoted), "{number}");
        }
        for (number, conn_state) in
            [(1053, Stale), (1927, Stale), (1615, Stale), (1062, Usable), (1205, Usable)]
        {
            assert_eq!(mysql_connection_state(number), conn_state, "{number}");
        }
        assert_eq!((postgres("25006"), postgres_connection_state("25006")), (Busy, Demoted));
        for (state, conn_state) in [
            ("57P01", Stale),
            ("08006", Stale),
            ("0A000", Stale),
            ("57014", Usable),
            ("23505", Usable),
            ("", Usable),
        ] {
            assert_eq!(postgres_connection_state(state), conn_state, "{state}");
        }
        for (code, conn_state) in [(8, Stale), (1032, Stale), (26, Stale), (5, Usable), (2067, Usable)] {
            assert_eq!(sqlite_connection_state(code), conn_state, "{code}");
        }
    }
}
