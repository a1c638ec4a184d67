/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  Who is owed an answer: the jobs of one call and what became of each.
 *
 * Jobs are entered as they are read and struck off as the UPDATE returns
 * them, mostly in the same order, since both statements walk the relation
 * the same way.  So an entry is expected where the last one left off, and an
 * index by id is made only once a job turns up elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

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

const char	LEDGER_CANCELED[] = "canceled";

/* ledger_create: an empty ledger, all of whose memory is in this context */
Ledger *
ledger_create(MemoryContext context)
{
	Ledger	   *ledger = MemoryContextAllocZero(context, sizeof(Ledger));

	ledger->context = context;
	return ledger;
}

static void
index_entry(Ledger *ledger, size_t position)
{
	bool		found;
	LedgerIndexEntry *entry = LedgerIndex_insert(ledger->index,
												 ledger->entries[position].id, &found);

	/* of an id that is there twice the first entry counts */
	if (!found)
		entry->position = position;
}

static LedgerEntry *
find_entry(Ledger *ledger, const pg_uuid_t *id)
{
	LedgerIndexEntry *entry;

	if (ledger->index == NULL)
	{
		ledger->index = LedgerIndex_create(ledger->context, Min(ledger->count, PG_INT32_MAX), NULL);
		for (size_t i = 0; i < ledger->count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			index_entry(ledger, i);
		}
	}
	entry = LedgerIndex_lookup(ledger->index, *id);
	return entry ? &ledger->entries[entry->position] : NULL;
}

/*
 * ledger_enter
 *
 * Adds a job with its outcome, or NULL to leave it open.  Raises 54000 past
 * two billion jobs.
 */
void
ledger_enter(Ledger *ledger, const pg_uuid_t *id, const char *outcome)
{
	if (ledger->count == ledger->capacity)
	{
		size_t		capacity = Max(64, ledger->capacity * 2);

		if (capacity > (size_t) PG_INT32_MAX + 1)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many jobs for one call"),
					 errhint("Narrow the filters, or use cancel_jobs_in_chunks.")));
		if (ledger->entries == NULL)
			ledger->entries = MemoryContextAlloc(ledger->context,
												 capacity * sizeof(LedgerEntry));
		else
			ledger->entries = repalloc_huge(ledger->entries,
											capacity * sizeof(LedgerEntry));
		ledger->capacity = capacity;
	}
	ledger->entries[ledger->count].id = *id;
	ledger->entries[ledger->count].outcome = outcome;
	ledger->count++;
	if (ledger->index)
		index_entry(ledger, ledger->count - 1);
}

/*
 * ledger_strike_off
 *
 * Notes that a job was canceled.  One that was not entered, since it came
 * later, is nobody's debt.
 */
void
ledger_strike_off(Ledger *ledger, const pg_uuid_t *id)
{
	LedgerEntry *entry;

	if (ledger->index == NULL)
	{
		while (ledger->next < ledger->count && ledger->entries[ledger->next].outcome != NULL)
			ledger->next++;
		if (ledger->next < ledger->count &&
			memcmp(&ledger->entries[ledger->next].id, id, UUID_LEN) == 0)
		{
			ledger->entries[ledger->next++].outcome = LEDGER_CANCELED;
			return;
		}
		if (ledger->count == 0)
			return;
	}

	entry = find_entry(ledger, id);
	if (entry)
		entry->outcome = LEDGER_CANCELED;
}

/* ledger_settle: the outcome of a job that is still open */
void
ledger_settle(Ledger *ledger, const pg_uuid_t *id, const char *outcome)
{
	LedgerEntry *entry = find_entry(ledger, id);

	if (entry && entry->outcome == NULL)
		entry->outcome = outcome;
}

/* ledger_count_open: how many entries have no outcome yet */
size_t
ledger_count_open(const Ledger *ledger)
{
	size_t		open = 0;

	for (size_t i = 0; i < ledger->count; i++)
		if (ledger->entries[i].outcome == NULL)
			open++;
	return open;
}

static int
compare_entries(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return memcmp(&((const LedgerEntry *) a)->id, &((const LedgerEntry *) b)->id, UUID_LEN);
}

/*
 * ledger_sort
 *
 * Leaves only the jobs that were not canceled and whose outcome is known,
 * sorted by id, none twice.  Entries that are still open get the outcome
 * given, or are dropped if that is NULL.  Nothing can be struck off or
 * settled afterwards.
 */
void
ledger_sort(Ledger *ledger, const char *outcome_of_open)
{
	size_t		kept = 0;

	for (size_t i = 0; i < ledger->count; i++)
	{
		LedgerEntry *entry = &ledger->entries[i];

		if (entry->outcome == NULL)
			entry->outcome = outcome_of_open;
		if (entry->outcome != NULL && entry->outcome != LEDGER_CANCELED)
			ledger->entries[kept++] = *entry;
	}
	ledger->count = kept;
	if (kept < 2)
		return;

	qsort(ledger->entries, ledger->count, sizeof(LedgerEntry), compare_entries);
	kept = 1;
	for (size_t i = 1; i < ledger->count; i++)
		if (compare_entries(&ledger->entries[i], &ledger->entries[kept - 1]) != 0)
			ledger->entries[kept++] = ledger->entries[i];
	ledger->count = kept;
}
