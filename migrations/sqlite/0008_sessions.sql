-- Login sessions whose refresh token was used, or that were ended: a session from which neither came has no row.
CREATE TABLE IF NOT EXISTS login_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS login_sessions_expires_at ON login_sessions (expires_at);
