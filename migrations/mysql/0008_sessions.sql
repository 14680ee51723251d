-- Login sessions whose refresh token was used, or that were ended: a session from which neither came has no row.
CREATE TABLE IF NOT EXISTS login_sessions (
    id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    generation BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    ended BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (id),
    KEY login_sessions_expires_at (expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
