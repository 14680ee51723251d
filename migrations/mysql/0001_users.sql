-- Names and addresses are compared byte by byte, a space at the end included: MariaDB and MySQL call that collation
-- differently. Instants are milliseconds since 1970.
CREATE TABLE IF NOT EXISTS users (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NOT NULL,
    email VARCHAR(320) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NULL,
    phone VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL,
    password_hash VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    nickname VARCHAR(1024) NULL,
    is_admin BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_login_at BIGINT NULL,
    applied_at BIGINT NOT NULL,
    applied_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (name),
    UNIQUE KEY users_email (email),
    UNIQUE KEY users_phone (phone)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
