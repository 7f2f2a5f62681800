-- Events with their places, for whoever reads the log: here the place is a column of the event.
CREATE VIEW logged_events AS
    SELECT seq, id, tenant, type, subject, time_ms, leaf, body FROM events;
