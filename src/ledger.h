/*-------------------------------------------------------------------------
 *
 * ledger.h
 *	  Who is owed an answer: the jobs of one call and what became of each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_LEDGER_H
#define PASQAL_JOBS_LEDGER_H

#include "utils/uuid.h"

struct LedgerIndex_hash;

typedef struct LedgerEntry
{
	pg_uuid_t	id;

	/*
	 * NULL: open.  LEDGER_CANCELED: struck off.  Else why the job was not
	 * canceled; the text belongs to whoever entered it.
	 */
	const char *outcome;
} LedgerEntry;

typedef struct Ledger
{
	MemoryContext context;
	LedgerEntry *entries;		/* in the order in which they were entered */
	size_t		count;
	size_t		capacity;
	size_t		next;			/* where the next one to be struck off is
								 * expected */
	struct LedgerIndex_hash *index; /* by id; made when it is first needed */
} Ledger;

extern const char LEDGER_CANCELED[];

extern Ledger *ledger_create(MemoryContext context);
extern void ledger_enter(Ledger *ledger, const pg_uuid_t *id, const char *outcome);
extern void ledger_strike_off(Ledger *ledger, const pg_uuid_t *id);
extern void ledger_settle(Ledger *ledger, const pg_uuid_t *id, const char *outcome);
extern size_t ledger_count_open(const Ledger *ledger);
extern void ledger_sort(Ledger *ledger, const char *outcome_of_open);

#endif							/* PASQAL_JOBS_LEDGER_H */
