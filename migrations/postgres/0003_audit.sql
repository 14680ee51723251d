-- Kept for ever: nothing of forebay deletes here.
CREATE TABLE IF NOT EXISTS audit (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    actor TEXT COLLATE "C",
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    at BIGINT NOT NULL
);
