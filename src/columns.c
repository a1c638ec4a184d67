/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  The table of columns and response fields, and the labels of the enums.
 *
 * A new field of the API is one row here and one value of JobColumn, besides
 * its column in the install script.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"

#include "columns.h"

const JobColumnDef job_columns[COLUMN_COUNT] = {
	[COLUMN_ID] = {"id", KIND_UUID},
	[COLUMN_PARENT_ID] = {"parent_id", KIND_UUID},
	[COLUMN_STATUS] = {"status", KIND_LABEL, LABELS_OF_STATUS},
	[COLUMN_RUNS] = {"runs", KIND_INTEGER},
	[COLUMN_BATCH_ID] = {"batch_id", KIND_UUID},
	[COLUMN_PROJECT_ID] = {"project_id", KIND_UUID},
	[COLUMN_CREATED_AT] = {"created_at", KIND_TIMESTAMPTZ},
	[COLUMN_UPDATED_AT] = {"updated_at", KIND_TIMESTAMPTZ},
	[COLUMN_START_TIMESTAMP] = {"start_timestamp", KIND_TIMESTAMPTZ},
	[COLUMN_END_TIMESTAMP] = {"end_timestamp", KIND_TIMESTAMPTZ},
	[COLUMN_VARIABLES] = {"variables", KIND_JSONB},
	[COLUMN_ERRORS] = {"errors", KIND_TEXT_ARRAY},
	[COLUMN_PROGRESS] = {"progress", KIND_INTEGER},
	[COLUMN_SEQUENCE] = {"sequence", KIND_TEXT},
	[COLUMN_CREATION_ORDER] = {"creation_order", KIND_BIGINT},
	[COLUMN_SLURM_JOB_ID] = {"slurm_job_id", KIND_TEXT},
	[COLUMN_USER_ID] = {"user_id", KIND_TEXT},
	[COLUMN_ORIGIN] = {"origin", KIND_LABEL, LABELS_OF_ORIGIN},
};

const JobColumn written_columns[WRITTEN_COUNT] = {
	COLUMN_STATUS, COLUMN_UPDATED_AT, COLUMN_END_TIMESTAMP
};

const Oid	column_types[KIND_COUNT] = {
	[KIND_UUID] = UUIDOID,
	[KIND_TEXT] = TEXTOID,
	[KIND_INTEGER] = INT4OID,
	[KIND_BIGINT] = INT8OID,
	[KIND_TIMESTAMPTZ] = TIMESTAMPTZOID,
	[KIND_JSONB] = JSONBOID,
	[KIND_TEXT_ARRAY] = TEXTARRAYOID,
	[KIND_LABEL] = InvalidOid,
};

const Labels label_sets[LABEL_SET_COUNT] = {
	[LABELS_OF_STATUS] = {
		"JobStatus", 5, {"PENDING", "RUNNING", "DONE", "ERROR", "CANCELED"},
		/* a cancel reads or writes these */
		{[JOB_PENDING] = true, [JOB_RUNNING] = true, [JOB_CANCELED] = true}
	},
	[LABELS_OF_ORIGIN] = {
		"Origin", 3, {"CLIENT", "AZURE", "UNKNOWN"}
	},
};
