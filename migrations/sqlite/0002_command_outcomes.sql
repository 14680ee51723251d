CREATE TABLE IF NOT EXISTS command_outcomes (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    field TEXT,
    reason TEXT,
    actor TEXT,
    accepted_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    topic_partition INTEGER NOT NULL,
    topic_offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS command_outcomes_finished_at ON command_outcomes (finished_at);
