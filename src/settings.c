/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The settings pasqal_jobs.*.
 *
 * Until the library is loaded in a session a setting is a placeholder that
 * takes any text.  If PostgreSQL then finds it invalid, it warns, and the next
 * older value or the default takes its place.  A cancel must not use a value
 * that nobody chose, so the invalid text is remembered here, and calls fail
 * until the setting is set right (see settings_check).
 *
 * PostgreSQL itself refuses a bad word or number once the library is loaded.
 * jobs_table_lock checks jobs_table, read_running_status running_status, and
 * call_check_locked_jobs whether a relation allows locked_jobs = skip.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "settings.h"

char	   *pasqal_jobs_table;
char	   *pasqal_jobs_notify_channel;
char	   *pasqal_jobs_running_status;
int			pasqal_jobs_locked_jobs;
int			pasqal_jobs_date_filter;
int			pasqal_jobs_max_jobs;
int			pasqal_jobs_chunk_pause;

static const struct config_enum_entry date_filters[] = {
	{"execution", DATE_FILTER_EXECUTION, false},
	{"creation", DATE_FILTER_CREATION, false},
	{NULL, 0, false}
};

static const struct config_enum_entry locked_jobs[] = {
	{"wait", LOCKED_JOBS_WAIT, false},
	{"skip", LOCKED_JOBS_SKIP, false},
	{NULL, 0, false}
};

/* Are the settings being defined, so that values come from placeholders? */
static bool defining = false;

/* Where a value comes from; the higher, the later it was chosen */
typedef enum ValueOrigin
{
	FROM_DEFAULT,
	FROM_PLACEHOLDER,
	FROM_SET					/* since the library was loaded */
} ValueOrigin;

typedef enum CheckedSettingIndex
{
	CHECKED_DATE_FILTER,
	CHECKED_LOCKED_JOBS,
	CHECKED_MAX_JOBS,
	CHECKED_CHUNK_PAUSE
} CheckedSettingIndex;

/*
 * A setting whose placeholder may be invalid: an enum, or a number from 0 on
 */
typedef struct CheckedSetting
{
	const char *name;
	const struct config_enum_entry *words;	/* NULL: a number */
	int			unit;			/* of the number: 0, or GUC_UNIT_... */
	const char *values;			/* for a hint */
	char	   *invalid;		/* the invalid placeholder, or NULL */
	ValueOrigin needed;			/* an older value does not make it valid again */
	ValueOrigin origin;			/* of the value now */
} CheckedSetting;

static CheckedSetting checked_settings[] = {
	[CHECKED_DATE_FILTER] = {
		.name = "pasqal_jobs.date_filter", .words = date_filters,
		.values = "execution, creation"
	},
	[CHECKED_LOCKED_JOBS] = {
		.name = "pasqal_jobs.locked_jobs", .words = locked_jobs,
		.values = "wait, skip"
	},
	[CHECKED_MAX_JOBS] = {
		.name = "pasqal_jobs.max_jobs",
		.values = "0 (no limit) to 2147483647"
	},
	[CHECKED_CHUNK_PAUSE] = {
		.name = "pasqal_jobs.chunk_pause", .unit = GUC_UNIT_MS,
		.values = "0 to 2147483647 ms; valid units are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\""
	},
};

static bool
is_valid(const CheckedSetting *setting, const char *text)
{
	int			number;

	if (setting->words == NULL)
		return parse_int(text, &number, setting->unit, NULL) && number >= 0;
	for (const struct config_enum_entry *word = setting->words; word->name; word++)
		if (pg_strcasecmp(text, word->name) == 0)
			return true;
	return false;
}

/* Check hook of the checked settings: passes on where a value comes from */
static bool
check_origin(int *newval, void **extra, GucSource source)
{
	ValueOrigin *origin;

	if (source == PGC_S_DEFAULT)
		return true;
	origin = guc_malloc(LOG, sizeof(ValueOrigin));
	if (origin == NULL)
		return false;
	*origin = defining ? FROM_PLACEHOLDER : FROM_SET;
	*extra = origin;
	return true;
}

/* Assign hooks of the checked settings */
#define DEFINE_ASSIGN_HOOK(hook, setting) \
static void \
hook(int newval, void *extra) \
{ \
	checked_settings[setting].origin = extra ? *(ValueOrigin *) extra : FROM_DEFAULT; \
}

DEFINE_ASSIGN_HOOK(assign_date_filter, CHECKED_DATE_FILTER)
DEFINE_ASSIGN_HOOK(assign_locked_jobs, CHECKED_LOCKED_JOBS)
DEFINE_ASSIGN_HOOK(assign_max_jobs, CHECKED_MAX_JOBS)
DEFINE_ASSIGN_HOOK(assign_chunk_pause, CHECKED_CHUNK_PAUSE)

/* Check hook: a channel's name is no longer than an identifier */
static bool
check_notify_channel(char **newval, void **extra, GucSource source)
{
	/* an invalid placeholder stays; NOTIFY itself refuses it */
	if (defining || *newval == NULL || strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("The name of a channel has at most %d bytes.", NAMEDATALEN - 1);
	return false;
}

/*
 * Remembers a placeholder whose value, or whose value after RESET, is invalid
 */
static void
look_at_placeholder(CheckedSetting *setting)
{
	const char *now = option_is_set(setting->name) ? GetConfigOption(setting->name, true, false) : NULL;
	const char *reset = now ? GetConfigOptionResetString(setting->name) : NULL;
	const char *invalid = NULL;

	if (reset && reset[0] != '\0' && !is_valid(setting, reset))
	{
		invalid = reset;
		setting->needed = FROM_PLACEHOLDER;
	}
	if (now && !is_valid(setting, now))
	{
		invalid = now;
		setting->needed = FROM_SET;
	}
	if (invalid)
		setting->invalid = MemoryContextStrdup(TopMemoryContext, invalid);
}

/* Texts: jobs_table.c and call.c check them when they are used */
static void
define_texts(void)
{
	DefineCustomStringVariable("pasqal_jobs.jobs_table",
							   "Names the relation that holds the jobs.",
							   "A name as in SQL. Without a schema it is looked up in search_path, "
							   "but never among temporary tables. It is checked when it is used.",
							   &pasqal_jobs_table,
							   "jobs",
							   PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pasqal_jobs.running_status",
							   "Names the status that a RUNNING job gets.",
							   "Another label than CANCELED, such as CANCELING, leaves the end of the job, "
							   "and its end_timestamp, to the worker. It is checked when it is used.",
							   &pasqal_jobs_running_status,
							   "CANCELED",
							   PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pasqal_jobs.notify_channel",
							   "Names the channel that is notified of each call that canceled a job.",
							   "The payload is {\"batch_id\": ..., \"canceled\": n}. Empty: no notification.",
							   &pasqal_jobs_notify_channel,
							   "",
							   PGC_USERSET, 0,
							   check_notify_channel, NULL, NULL);
}

/* The checked settings */
static void
define_checked(void)
{
	DefineCustomEnumVariable("pasqal_jobs.date_filter",
							 "Chooses what the filters start_date and end_date compare with.",
							 "execution: start_timestamp and end_timestamp, as the API documents it. "
							 "creation: created_at for both, as the public Python client documents it.",
							 &pasqal_jobs_date_filter,
							 DATE_FILTER_EXECUTION,
							 date_filters,
							 PGC_USERSET, 0,
							 check_origin, assign_date_filter, NULL);
	DefineCustomEnumVariable("pasqal_jobs.locked_jobs",
							 "Chooses what becomes of jobs that another transaction has locked.",
							 "wait: the cancel waits for them, once all others are its own. "
							 "skip: they are answered as not canceled, and nothing is waited for.",
							 &pasqal_jobs_locked_jobs,
							 LOCKED_JOBS_WAIT,
							 locked_jobs,
							 PGC_USERSET, 0,
							 check_origin, assign_locked_jobs, NULL);
	DefineCustomIntVariable("pasqal_jobs.max_jobs",
							"Sets the number of jobs that a call may cancel.",
							"A call that would cancel more fails, and nothing is canceled. 0: no limit.",
							&pasqal_jobs_max_jobs,
							0, 0, INT_MAX,
							PGC_USERSET, 0,
							check_origin, assign_max_jobs, NULL);
	DefineCustomIntVariable("pasqal_jobs.chunk_pause",
							"Sets how long cancel_jobs_in_chunks sleeps between two chunks.",
							"So replicas and vacuum can keep up. 0: no pause.",
							&pasqal_jobs_chunk_pause,
							0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							check_origin, assign_chunk_pause, NULL);
}

/* settings_define: defines the settings, once, as the library is loaded */
void
settings_define(void)
{
	for (int i = 0; i < (int) lengthof(checked_settings); i++)
		look_at_placeholder(&checked_settings[i]);

	defining = true;
	define_texts();
	define_checked();
	MarkGUCPrefixReserved("pasqal_jobs");
	defining = false;
}

/*
 * settings_check
 *
 * Raises 22023 if a setting's placeholder was invalid as the library was
 * loaded, and the setting has not been set right since.
 */
void
settings_check(void)
{
	for (int i = 0; i < (int) lengthof(checked_settings); i++)
	{
		const CheckedSetting *setting = &checked_settings[i];

		if (setting->invalid && setting->origin < setting->needed)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for parameter \"%s\": \"%s\"",
							setting->name, setting->invalid),
					 errdetail("It was set before the library was loaded, when it could not be checked."),
					 errhint("Set it again, which lasts until RESET or DISCARD ALL, or connect anew.  Available values: %s.", setting->values)));
	}
}
