//! A gate in a PostgreSQL where statements wait for the test, which makes the order of a race deterministic.
//!
//! ```ignore
//! let mut gate = StatementGate::new(&url);
//! gate.sql("CREATE VIEW v AS SELECT * FROM t WHERE pass_gate()");
//! gate.close();
//! // … a statement on another connection reads `v` …
//! gate.await_waiter();
//! gate.unlock_new();   // the waiting statement continues to wait
//! gate.open();
//! ```

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::{Builder, Runtime};

use super::daemon::LONG;
use super::wait;

/// A statement waits only if the gate is closed, and until the lock is released.
const SETUP: &str = "CREATE TABLE gate (closed BOOLEAN NOT NULL);
    INSERT INTO gate VALUES (false);
    CREATE FUNCTION pass_gate() RETURNS BOOLEAN LANGUAGE plpgsql VOLATILE AS $$ BEGIN
        IF (SELECT closed FROM gate) THEN
            PERFORM pg_advisory_lock_shared(4711);
            PERFORM pg_advisory_unlock_shared(4711);
        END IF;
        RETURN true;
    END $$;
    CREATE FUNCTION pass_gate_trigger() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pass_gate();
        RETURN NULL;
    END $$;";
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The gate, open at first, with its own connection. For threads outside of a runtime.
pub struct StatementGate {
    runtime: Runtime,
    connection: PgConnection,
}

impl StatementGate {
    /// Creates the gate in the database of this URL.
    pub fn new(url: &str) -> StatementGate {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connection = runtime.block_on(PgConnection::connect(url)).expect("a connection");
        let mut gate = StatementGate { runtime, connection };
        gate.sql(SETUP);
        gate
    }

    /// Runs statements of the test.
    pub fn sql(&mut self, statements: &str) {
        let run = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.connection);
        self.runtime.block_on(run).expect(statements);
    }

    /// Closes the gate: new statements wait.
    pub fn close(&mut self) {
        self.sql("SELECT pg_advisory_lock(4711); UPDATE gate SET closed = true");
    }

    /// Returns when a statement waits.
    pub fn await_waiter(&mut self) {
        wait::until_true("a statement waits at the gate", LONG, || {
            let waiting = sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut self.connection);
            self.runtime.block_on(waiting).expect(WAITING) > 0
        });
    }

    /// New statements pass; waiting ones continue to wait.
    pub fn unlock_new(&mut self) {
        self.sql("UPDATE gate SET closed = false");
    }

    /// Lets all statements pass.
    pub fn open(&mut self) {
        self.unlock_new();
        self.sql("SELECT pg_advisory_unlock(4711)");
    }
}
