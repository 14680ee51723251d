-- Kept for ever: nothing of forebay deletes here.
CREATE TABLE IF NOT EXISTS audit (
    id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    actor VARCHAR(255) NULL,
    action VARCHAR(64) NOT NULL,
    target VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    reason VARCHAR(1024) NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
