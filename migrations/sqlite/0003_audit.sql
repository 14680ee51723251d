-- Kept for ever: nothing of forebay deletes here.
CREATE TABLE IF NOT EXISTS audit (
    id TEXT NOT NULL PRIMARY KEY,
    actor TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
