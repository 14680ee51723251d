-- The audit is not kept for ever any more ([database] audit_retention): its oldest rows are found by this index.
CREATE INDEX IF NOT EXISTS audit_at ON audit (at);
