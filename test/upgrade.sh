#!/bin/bash
# test/upgrade.sh: an upgraded extension equals a fresh one.
#
# For every version that an upgrade script (pasqal_jobs--A--B.sql) leads from,
# installs it, upgrades it to the default version and compares all that the
# catalogs say of it with the default version installed fresh. In place before
# the first such script: until there is one it makes up three, of the install
# script itself, to show that the comparison finds what differs and nothing else.

. "$(dirname "$0")/../tools/sandbox.sh"

sandbox_create
sandbox_start

extensions=$("$PG_CONFIG" --sharedir)/extension
extensions=$SANDBOX/root$extensions
default=$(sed -n "s/^default_version = '\(.*\)'/\1/p" pasqal_jobs.control)
status=0

sql() {
	as_server psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# All members of the extension with all that their catalogs say, one a line;
# oids as names, so that two databases can be compared. The arguments make
# the extension.
describe() {
	local db=upgrade command
	as_server dropdb --if-exists --force "$db" 2>/dev/null
	as_server createdb "$db"
	for command in "$@"; do
		sql -d "$db" -c "$command" || return 1
	done
	sql -d "$db" <<'SQL'
SET search_path = pg_catalog;
CREATE TEMP TABLE members AS
SELECT d.classid, d.objid, d.objsubid, i.type, i.identity
FROM pg_depend AS d, pg_identify_object(d.classid, d.objid, d.objsubid) AS i
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pasqal_jobs');
SELECT line FROM (
	SELECT concat_ws(' | ', 'extension', extversion, extowner::regrole, extrelocatable,
		(SELECT array_agg(t::regclass) FROM unnest(extconfig) AS t), extcondition)
	FROM pg_extension WHERE extname = 'pasqal_jobs'
	UNION ALL
	SELECT concat_ws(' | ', type, identity, 'comment', obj_description(objid, classid::regclass::text))
	FROM members
	UNION ALL
	SELECT concat_ws(' | ', m.type, m.identity, 'depends', d.deptype, r.type, r.identity)
	FROM members AS m JOIN pg_depend AS d USING (classid, objid), pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) AS r
	UNION ALL
	SELECT concat_ws(' | ', m.type, m.identity, 'privileges', a.privtype, a.initprivs)
	FROM members AS m JOIN pg_init_privs AS a ON a.objoid = m.objid AND a.classoid = m.classid
	UNION ALL
	SELECT concat_ws(' | ', m.type, m.identity, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
		(to_jsonb(p) - '{oid,pronamespace,proowner,prolang,provariadic,prosupport,prorettype,proargtypes,proallargtypes,proargdefaults}'::text[])::text,
		l.lanname, p.prosupport, p.proowner::regrole)
	FROM members AS m JOIN pg_proc AS p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass JOIN pg_language AS l ON l.oid = p.prolang
	UNION ALL
	SELECT concat_ws(' | ', m.type, m.identity, t.typtype, t.typcategory, t.typispreferred, t.typlen, t.typalign, t.typstorage, t.typnotnull,
		t.typbasetype::regtype, t.typdefault, t.typacl, (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid),
		(SELECT array_agg(pg_get_constraintdef(c.oid) ORDER BY c.conname) FROM pg_constraint AS c WHERE c.contypid = t.oid))
	FROM members AS m JOIN pg_type AS t ON t.oid = m.objid AND m.classid = 'pg_type'::regclass
	UNION ALL
	SELECT concat_ws(' | ', m.type, m.identity, (to_jsonb(c) - '{oid,relnamespace,reltype,reloftype,relowner,relam,relfilenode,reltoastrelid,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[])::text,
		pg_get_viewdef(c.oid), (SELECT array_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(f.adbin, f.adrelid)) ORDER BY a.attnum)
		 FROM pg_attribute AS a LEFT JOIN pg_attrdef AS f ON f.adrelid = a.attrelid AND f.adnum = a.attnum WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
	FROM members AS m JOIN pg_class AS c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass
) AS x (line) ORDER BY line COLLATE "C";
SQL
}

# check WHAT FILE FILE WANTED: says whether the two are equal, and notes what is not as wanted
check() {
	local found=equal
	cmp -s "$2" "$3" || found=different
	if [ "$found" = "$4" ]; then
		echo "ok - $1: $found"
	else
		echo "not ok - $1: $found"
		diff -U0 "$2" "$3" || true
		status=1
	fi
}

# Every type of member must be one that describe looks into
looked_into="extension|function|procedure|type|table|index|view|sequence"

describe "CREATE EXTENSION pasqal_jobs" >"$SANDBOX/fresh"
echo "version $default has $(grep -c '| comment' "$SANDBOX/fresh") members, described in $(wc -l <"$SANDBOX/fresh") lines"
if cut -d' ' -f1 "$SANDBOX/fresh" | sort -u | grep -vxE "$looked_into"; then
	echo "not ok - the extension has members that this test does not look into"
	status=1
fi

shopt -s nullglob
upgrades=0
for script in pasqal_jobs--*--*.sql; do
	from=${script#pasqal_jobs--}
	from=${from%%--*}
	describe "CREATE EXTENSION pasqal_jobs VERSION '$from'" "ALTER EXTENSION pasqal_jobs UPDATE" >"$SANDBOX/upgraded"
	check "upgrade from $from to $default" "$SANDBOX/fresh" "$SANDBOX/upgraded" equal
	upgrades=$((upgrades + 1))
done

# Made-up version 0: the same but for one function, one comment and the range of
# the domain. One upgrade brings all, the others forget one of these.
body="pasqal_jobs--$default.sql"
sed -e '/^CREATE FUNCTION cancel_jobs_preview/,/;$/d' -e '/^COMMENT ON FUNCTION cancel_jobs_preview/,/;$/d' \
	-e "s/^'where a job was submitted'/'its origin'/" -e '/CONSTRAINT jobprogress_check/s/100/10/' "$body" >"$SANDBOX/zero"
{
	sed -n '/^CREATE FUNCTION cancel_jobs_preview/,/;$/p; /^COMMENT ON FUNCTION cancel_jobs_preview/,/;$/p' "$body"
	echo "COMMENT ON TYPE Origin IS 'where a job was submitted';"
	echo "ALTER DOMAIN JobProgress DROP CONSTRAINT jobprogress_check;"
	echo "ALTER DOMAIN JobProgress ADD $(sed -n 's/^\t\(CONSTRAINT jobprogress_check\)/\1/p' "$body")"
} >"$SANDBOX/complete"
sed '/^COMMENT ON TYPE/d' "$SANDBOX/complete" >"$SANDBOX/uncommented"
sed '/^ALTER DOMAIN/d' "$SANDBOX/complete" >"$SANDBOX/unranged"
chmod 644 "$SANDBOX"/{zero,complete,uncommented,unranged}
as_server cp "$SANDBOX/zero" "$extensions/pasqal_jobs--0.sql"
for form in complete uncommented unranged; do
	as_server cp "$SANDBOX/$form" "$extensions/pasqal_jobs--0--$default.sql"
	describe "CREATE EXTENSION pasqal_jobs VERSION '0'" "ALTER EXTENSION pasqal_jobs UPDATE" >"$SANDBOX/upgraded"
	[ $form = complete ] && wanted=equal || wanted=different
	check "made-up $form upgrade" "$SANDBOX/fresh" "$SANDBOX/upgraded" $wanted
done

echo "$upgrades upgrade scripts"
exit $status
