CREATE TABLE IF NOT EXISTS parked_commands (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS parked_commands_name ON parked_commands (name, seq);
