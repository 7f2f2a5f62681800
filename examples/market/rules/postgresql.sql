-- The market's rules as PostgreSQL's row-level security. The application connects as `market`, and says in each
-- transaction for whom: SET LOCAL market.caller = 'the user'. Nobody is ''.

CREATE FUNCTION caller() RETURNS text STABLE LANGUAGE sql AS
    $$ SELECT nullif(current_setting('market.caller', true), '') $$;

CREATE TABLE stalls (id text PRIMARY KEY, name text UNIQUE NOT NULL, owner text NOT NULL DEFAULT caller(), open boolean NOT NULL DEFAULT true);
CREATE TABLE offers (id text PRIMARY KEY, stall text NOT NULL REFERENCES stalls ON DELETE CASCADE, title text NOT NULL, price_cents bigint NOT NULL);
CREATE TABLE teams (id text PRIMARY KEY, name text NOT NULL, owner text NOT NULL DEFAULT caller());
CREATE TABLE memberships (
    id text PRIMARY KEY, team text NOT NULL REFERENCES teams ON DELETE CASCADE, "user" text NOT NULL,
    role text NOT NULL CHECK (role IN ('editor', 'guest')), UNIQUE (team, "user")
);
CREATE TABLE projects (id text PRIMARY KEY, team text NOT NULL REFERENCES teams ON DELETE CASCADE, title text NOT NULL, locked boolean NOT NULL DEFAULT false);
CREATE INDEX ON memberships ("user");

-- Policies of teams and memberships ask each other, which PostgreSQL refuses as infinite recursion: what they
-- ask goes through functions that run as the owner of the tables.
CREATE FUNCTION owns_team(id text) RETURNS boolean STABLE SECURITY DEFINER LANGUAGE sql AS
    $$ SELECT EXISTS (SELECT FROM teams t WHERE t.id = $1 AND t.owner = caller()) $$;
CREATE FUNCTION in_team(id text, role text DEFAULT NULL) RETURNS boolean STABLE SECURITY DEFINER LANGUAGE sql AS
    $$ SELECT EXISTS (SELECT FROM memberships m WHERE m.team = $1 AND m."user" = caller() AND ($2 IS NULL OR m.role = $2)) $$;
CREATE FUNCTION owns_stall(id text) RETURNS boolean STABLE SECURITY DEFINER LANGUAGE sql AS
    $$ SELECT EXISTS (SELECT FROM stalls s WHERE s.id = $1 AND s.owner = caller()) $$;
CREATE FUNCTION open_stall(id text) RETURNS boolean STABLE SECURITY DEFINER LANGUAGE sql AS
    $$ SELECT EXISTS (SELECT FROM stalls s WHERE s.id = $1 AND s.open) $$;

CREATE ROLE market;
GRANT SELECT, INSERT, UPDATE, DELETE ON stalls, offers, teams, memberships, projects TO market;
ALTER TABLE stalls ENABLE ROW LEVEL SECURITY;
ALTER TABLE offers ENABLE ROW LEVEL SECURITY;
ALTER TABLE teams ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;

CREATE POLICY stalls_view ON stalls FOR SELECT USING (open OR owner = caller());
CREATE POLICY stalls_create ON stalls FOR INSERT WITH CHECK (owner = caller());
CREATE POLICY stalls_update ON stalls FOR UPDATE USING (owner = caller());
CREATE POLICY stalls_delete ON stalls FOR DELETE USING (owner = caller());

CREATE POLICY offers_view ON offers FOR SELECT USING (open_stall(stall) OR owns_stall(stall));
CREATE POLICY offers_create ON offers FOR INSERT WITH CHECK (owns_stall(stall));
CREATE POLICY offers_update ON offers FOR UPDATE USING (owns_stall(stall));
CREATE POLICY offers_delete ON offers FOR DELETE USING (owns_stall(stall));

CREATE POLICY teams_view ON teams FOR SELECT USING (owner = caller() OR in_team(id));
CREATE POLICY teams_create ON teams FOR INSERT WITH CHECK (owner = caller());
CREATE POLICY teams_update ON teams FOR UPDATE USING (owner = caller());
CREATE POLICY teams_delete ON teams FOR DELETE USING (owner = caller());

CREATE POLICY memberships_view ON memberships FOR SELECT USING ("user" = caller() OR owns_team(team));
CREATE POLICY memberships_create ON memberships FOR INSERT WITH CHECK (owns_team(team));
CREATE POLICY memberships_update ON memberships FOR UPDATE USING (owns_team(team));
CREATE POLICY memberships_delete ON memberships FOR DELETE USING ("user" = caller() OR owns_team(team));

CREATE POLICY projects_view ON projects FOR SELECT USING (owns_team(team) OR in_team(team));
CREATE POLICY projects_create ON projects FOR INSERT WITH CHECK (owns_team(team));
-- A policy does not see which columns change. That an editor moves no project to another team is asked of the
-- row as it becomes (in a team where they are an editor they may), so a trigger says the rest.
CREATE POLICY projects_update ON projects FOR UPDATE USING (owns_team(team) OR (NOT locked AND in_team(team, 'editor')));
CREATE POLICY projects_delete ON projects FOR DELETE USING (owns_team(team));
CREATE FUNCTION stays_in_team() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.team <> OLD.team AND NOT (owns_team(OLD.team) AND owns_team(NEW.team)) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only owners of both teams move a project';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stays_in_team BEFORE UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION stays_in_team();
