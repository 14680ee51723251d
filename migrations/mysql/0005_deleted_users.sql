-- Which deletion a name's row fell to: an older command that comes later is superseded.
CREATE TABLE IF NOT EXISTS deleted_users (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NOT NULL,
    applied_at BIGINT NOT NULL,
    applied_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (name),
    KEY deleted_users_applied_at (applied_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
