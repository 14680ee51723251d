CREATE TABLE IF NOT EXISTS command_outcomes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    field TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    actor TEXT COLLATE "C",
    accepted_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    topic_partition BIGINT NOT NULL,
    topic_offset BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS command_outcomes_finished_at ON command_outcomes (finished_at);
