CREATE TABLE IF NOT EXISTS parked_commands (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    attempts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parked_commands_name ON parked_commands (name, seq);
