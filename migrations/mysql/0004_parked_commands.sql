CREATE TABLE IF NOT EXISTS parked_commands (
    id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NOT NULL,
    seq BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (id),
    KEY parked_commands_name (name, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
