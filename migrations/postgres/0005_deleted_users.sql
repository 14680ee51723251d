-- Which deletion a name's row fell to: an older command that comes later is superseded.
CREATE TABLE IF NOT EXISTS deleted_users (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    applied_at BIGINT NOT NULL,
    applied_id TEXT COLLATE "C" NOT NULL
);
CREATE INDEX IF NOT EXISTS deleted_users_applied_at ON deleted_users (applied_at);
