-- Login sessions whose refresh token was used, or that were ended: a session from which neither came has no row.
CREATE TABLE IF NOT EXISTS login_sessions (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    ended BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS login_sessions_expires_at ON login_sessions (expires_at);
