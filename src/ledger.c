/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  The jobs that a call answers for, and what became of each.
 *
 * Jobs are entered as they are read and answered as the UPDATE returns them,
 * mostly in the same order, since both statements walk the relation the same
 * way.  So the next job is expected after the last one.  A job that is
 * elsewhere is found by its id: by bisection if the ids were entered in order,
 * as those of a list are, else by a hash that is made when it is first needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "arrays.h"
#include "ledger.h"

typedef struct LedgerIndexEntry
{
	pg_uuid_t	id;
	uint32		position;		/* in the ledger's entries */
	char		status;
} LedgerIndexEntry;

#define SH_PREFIX		LedgerIndex
#define SH_ELEMENT_TYPE	LedgerIndexEntry
#define SH_KEY_TYPE		pg_uuid_t
#define SH_KEY			id
#define SH_HASH_KEY(tb, key)	hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b)		(memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct LedgerEntry
{
	pg_uuid_t	id;

	/*
	 * NULL or HELD: open.  ANSWERED: canceled, or else answered.  Otherwise
	 * why the job was not canceled; the text belongs to the caller.
	 */
	const char *outcome;
} LedgerEntry;

struct Ledger
{
	MemoryContext context;
	LedgerEntry *entries;		/* in the order in which they were entered */
	size_t		count;
	size_t		capacity;
	size_t		next;			/* where the next job is expected */
	bool		sorted;			/* each id is larger than the one before */
	LedgerIndex_hash *index;	/* by id; made when it is first needed */
};

static const char ANSWERED[] = "answered";
static const char HELD[] = "held";	/* this transaction has locked the job's
									 * row */

static inline bool
is_open(const LedgerEntry *entry)
{
	return entry->outcome == NULL || entry->outcome == HELD;
}

/* ledger_create: an empty ledger, all of whose memory is in this context */
Ledger *
ledger_create(MemoryContext context)
{
	Ledger	   *ledger = MemoryContextAllocZero(context, sizeof(Ledger));

	ledger->context = context;
	ledger->sorted = true;
	return ledger;
}

static int
compare_id(const void *id, const void *entry)
{
	return memcmp(id, &((const LedgerEntry *) entry)->id, UUID_LEN);
}

/* The entry of a job, or NULL, in a ledger that has entries */
static LedgerEntry *
find_entry(Ledger *ledger, const pg_uuid_t *id)
{
	LedgerIndexEntry *entry;

	if (ledger->sorted)
		return bsearch(id, ledger->entries, ledger->count, sizeof(LedgerEntry), compare_id);

	if (ledger->index == NULL)
	{
		ledger->index = LedgerIndex_create(ledger->context, Min(ledger->count, PG_INT32_MAX), NULL);
		for (size_t i = 0; i < ledger->count; i++)
		{
			bool		found;

			CHECK_FOR_INTERRUPTS();
			entry = LedgerIndex_insert(ledger->index, ledger->entries[i].id, &found);

			/* of an id that is there twice the first entry counts */
			if (!found)
				entry->position = i;
		}
	}
	entry = LedgerIndex_lookup(ledger->index, *id);
	return entry ? &ledger->entries[entry->position] : NULL;
}

/*
 * ledger_enter
 *
 * Adds a job with its outcome, or NULL to leave it open.  All jobs are entered
 * before the first is answered or settled.  Raises 54000 past a billion.
 */
void
ledger_enter(Ledger *ledger, const pg_uuid_t *id, const char *outcome)
{
	Assert(ledger->index == NULL);
	if (ledger->count > 0 && compare_id(id, &ledger->entries[ledger->count - 1]) <= 0)
		ledger->sorted = false;
	if (ledger->count > PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many jobs for one call"),
				 errhint("Narrow the filters, or use cancel_jobs_in_chunks.")));
	if (ledger->count == ledger->capacity)
		ledger->entries = grow_array(ledger->context, ledger->entries,
									 &ledger->capacity, sizeof(LedgerEntry));
	ledger->entries[ledger->count].id = *id;
	ledger->entries[ledger->count].outcome = outcome;
	ledger->count++;
}

/* The entry of a job, or NULL; the next open one is tried first */
static LedgerEntry *
next_entry(Ledger *ledger, const pg_uuid_t *id)
{
	if (ledger->index == NULL)
	{
		while (ledger->next < ledger->count && !is_open(&ledger->entries[ledger->next]))
			ledger->next++;
		if (ledger->next < ledger->count &&
			memcmp(&ledger->entries[ledger->next].id, id, UUID_LEN) == 0)
			return &ledger->entries[ledger->next++];
		if (ledger->count == 0)
			return NULL;
	}
	return find_entry(ledger, id);
}

/* ledger_rewind: expects the jobs in their order again */
void
ledger_rewind(Ledger *ledger)
{
	ledger->next = 0;
}

/*
 * ledger_hold
 *
 * Notes that the row of a job was locked.  Returns false if no such job was
 * entered.
 */
bool
ledger_hold(Ledger *ledger, const pg_uuid_t *id)
{
	LedgerEntry *entry = next_entry(ledger, id);

	if (entry && entry->outcome == NULL)
		entry->outcome = HELD;
	return entry != NULL;
}

/* ledger_is_held: was the row of the job locked? */
bool
ledger_is_held(Ledger *ledger, const pg_uuid_t *id)
{
	const LedgerEntry *entry = find_entry(ledger, id);

	return entry && entry->outcome == HELD;
}

/*
 * ledger_answer
 *
 * Notes that a job was answered.  One that was not entered came later, and is
 * left alone.
 */
void
ledger_answer(Ledger *ledger, const pg_uuid_t *id)
{
	LedgerEntry *entry = next_entry(ledger, id);

	if (entry)
		entry->outcome = ANSWERED;
}

/* ledger_settle: sets the outcome of a job, if it is open */
void
ledger_settle(Ledger *ledger, const pg_uuid_t *id, const char *outcome)
{
	LedgerEntry *entry = find_entry(ledger, id);

	if (entry && is_open(entry))
		entry->outcome = outcome;
}

/* Is an entry open, or, if held is set, held? */
static inline bool
is_wanted(const LedgerEntry *entry, bool held)
{
	return held ? entry->outcome == HELD : is_open(entry);
}

/* ledger_count: how many entries have no outcome yet, or how many are held */
size_t
ledger_count(const Ledger *ledger, bool held)
{
	size_t		count = 0;

	for (size_t i = 0; i < ledger->count; i++)
		if (is_wanted(&ledger->entries[i], held))
			count++;
	return count;
}

/*
 * ledger_ids
 *
 * The ids of the entries that ledger_count counts, in memory of the ledger's
 * context.  They point into the ledger.
 */
FilterValues
ledger_ids(const Ledger *ledger, bool held)
{
	size_t		count = ledger_count(ledger, held);
	FilterValues ids = {0, MemoryContextAllocHuge(ledger->context, count * sizeof(Datum))};

	for (size_t i = 0; i < ledger->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_wanted(&ledger->entries[i], held))
			ids.values[ids.count++] = UUIDPGetDatum(&ledger->entries[i].id);
	}
	return ids;
}

static int
compare_entries(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return compare_id(&((const LedgerEntry *) a)->id, b);
}

/*
 * ledger_report
 *
 * Reports the jobs that were not answered and their outcomes, in the order
 * of ids, none twice.  Open entries get outcome_of_open, or are left out if
 * that is NULL.  The ledger cannot be used afterwards.
 */
void
ledger_report(Ledger *ledger, const char *outcome_of_open,
			  void (*report) (const pg_uuid_t *id, const char *outcome, void *arg),
			  void *arg)
{
	size_t		count = 0;

	for (size_t i = 0; i < ledger->count; i++)
	{
		LedgerEntry *entry = &ledger->entries[i];

		if (is_open(entry))
			entry->outcome = outcome_of_open;
		if (entry->outcome != NULL && entry->outcome != ANSWERED)
			ledger->entries[count++] = *entry;
	}

	if (count > 1)
		qsort(ledger->entries, count, sizeof(LedgerEntry), compare_entries);
	for (size_t i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i == 0 || compare_entries(&ledger->entries[i], &ledger->entries[i - 1]) != 0)
			report(&ledger->entries[i].id, ledger->entries[i].outcome, arg);
	}
}
