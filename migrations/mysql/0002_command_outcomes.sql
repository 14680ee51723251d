CREATE TABLE IF NOT EXISTS command_outcomes (
    id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    kind VARCHAR(64) NOT NULL,
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NOT NULL,
    state VARCHAR(16) NOT NULL,
    field VARCHAR(16) NULL,
    reason VARCHAR(1024) NULL,
    actor VARCHAR(255) NULL,
    accepted_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    topic_partition BIGINT NOT NULL,
    topic_offset BIGINT NOT NULL,
    PRIMARY KEY (id),
    KEY command_outcomes_finished_at (finished_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
