-- The run for which the request of this one was queued again.
ALTER TABLE runs ADD COLUMN followed_by INTEGER;
