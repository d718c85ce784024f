-- The outcomes of a shop's captures, in its own MySQL or MariaDB.
CREATE TABLE takings_outcome (
  order_id   VARCHAR(255) NOT NULL,
  reference  VARCHAR(255) NOT NULL,
  -- captured, rejected (nothing was captured), stuck (a person has to look),
  -- cancelled
  state      VARCHAR(20) NOT NULL,
  error_code VARCHAR(255) NOT NULL,
  at         TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (order_id, reference)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
