/*-------------------------------------------------------------------------
 *
 * columns.h
 *	  The columns of a jobs relation and the fields of a response, and the
 *	  labels of the API's enumerations.
 *
 * Columns and fields are one table: a field of the response is the column of
 * its name.  The install script has the labels, too, for its types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_COLUMNS_H
#define PASQAL_JOBS_COLUMNS_H

typedef enum JobStatus
{
	JOB_PENDING,
	JOB_RUNNING,
	JOB_DONE,
	JOB_ERROR,
	JOB_CANCELED,
	JOB_STATUS_OTHER			/* null, or a label that is not the API's */
} JobStatus;

#define MAX_LABELS		5

/* An enumeration: the name of its type and the labels of its members */
typedef struct Labels
{
	const char *type_name;
	int			count;
	const char *label[MAX_LABELS];
	bool		required[MAX_LABELS];	/* a column's enum must have it */
} Labels;

typedef enum LabelSet
{
	LABELS_OF_STATUS,			/* indexed by JobStatus */
	LABELS_OF_ORIGIN
} LabelSet;

#define LABEL_SET_COUNT	(LABELS_OF_ORIGIN + 1)

extern const Labels label_sets[LABEL_SET_COUNT];	/* indexed by LabelSet */

/* Can a job with this status be canceled? */
static inline bool
job_is_cancelable(JobStatus status)
{
	return status == JOB_PENDING || status == JOB_RUNNING;
}

/*
 * The columns, in the order in which the API documents its fields.  The first
 * ones are the fields of a response; RETURNING lists them in this order, so
 * that a field's number is its attribute's less 1.
 */
typedef enum JobColumn
{
	COLUMN_ID,
	COLUMN_PARENT_ID,
	COLUMN_STATUS,
	COLUMN_RUNS,
	COLUMN_BATCH_ID,
	COLUMN_PROJECT_ID,
	COLUMN_CREATED_AT,
	COLUMN_UPDATED_AT,
	COLUMN_START_TIMESTAMP,
	COLUMN_END_TIMESTAMP,
	COLUMN_VARIABLES,
	COLUMN_ERRORS,
	COLUMN_PROGRESS,
	COLUMN_SEQUENCE,
	COLUMN_CREATION_ORDER,
	COLUMN_SLURM_JOB_ID,
	FIELD_COUNT,				/* the fields of a response end here */

	/* for filters only */
	COLUMN_USER_ID = FIELD_COUNT,
	COLUMN_ORIGIN,
	COLUMN_COUNT
} JobColumn;

/* The columns that a cancel writes; what it writes there is in statement_text.c */
#define WRITTEN_COUNT	3
extern const JobColumn written_columns[WRITTEN_COUNT];

/* What a column holds; decides its type in SQL and its form in a response */
typedef enum ColumnKind
{
	KIND_UUID,
	KIND_TEXT,
	KIND_INTEGER,
	KIND_BIGINT,
	KIND_TIMESTAMPTZ,
	KIND_JSONB,
	KIND_TEXT_ARRAY,
	KIND_LABEL					/* an enum with the labels of a set, text or
								 * varchar; see label_column.h */
} ColumnKind;

#define KIND_COUNT		(KIND_LABEL + 1)

typedef struct JobColumnDef
{
	const char *name;
	ColumnKind	kind;
	LabelSet	labels;			/* for KIND_LABEL */
} JobColumnDef;

extern const JobColumnDef job_columns[COLUMN_COUNT];	/* indexed by JobColumn */

/* The type of each kind of column; InvalidOid for KIND_LABEL */
extern const Oid column_types[KIND_COUNT];	/* indexed by ColumnKind */

#endif							/* PASQAL_JOBS_COLUMNS_H */
