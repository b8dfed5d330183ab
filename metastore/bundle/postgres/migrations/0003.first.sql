-- depends: 0002.record
-- Rows that were there before get their first snapshot; not by changing them, which a row with unsafe values refuses.

ALTER TABLE snapshot_bundles DISABLE TRIGGER metastore_typed;
ALTER TABLE snapshot_bundle_variables DISABLE TRIGGER metastore_typed;
ALTER TABLE snapshot_variable_changes DISABLE TRIGGER metastore_typed;

DO $$ BEGIN
    PERFORM set_config('metastore.first', 'true', true), set_config('metastore.action', 'import', true),
        set_config('metastore.comment', 'was there before the record began', true);
    LOCK TABLE bundles, bundle_variables IN SHARE ROW EXCLUSIVE MODE;
    PERFORM metastore_snapshot(name, false) FROM bundles
    WHERE NOT EXISTS (SELECT FROM snapshot_bundles WHERE snapshot_bundles.name = bundles.name);
END $$;

ALTER TABLE snapshot_bundles ENABLE ALWAYS TRIGGER metastore_typed;
ALTER TABLE snapshot_bundle_variables ENABLE ALWAYS TRIGGER metastore_typed;
ALTER TABLE snapshot_variable_changes ENABLE ALWAYS TRIGGER metastore_typed;

-- From here on the database is ready; the library asks for this number.
CREATE OR REPLACE FUNCTION metastore_schema() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$;
