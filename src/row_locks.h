/*-------------------------------------------------------------------------
 *
 * row_locks.h
 *	  Row locks: how jobs can be locked, and which look locked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_ROW_LOCKS_H
#define PASQAL_JOBS_ROW_LOCKS_H

#include "access/multixact.h"

/* How jobs can be locked ahead of the UPDATE */
typedef enum RowLocks
{
	ROW_LOCKS_NONE,				/* not at all: views, foreign tables, Citus */
	ROW_LOCKS_NO_KEY_UPDATE,
	ROW_LOCKS_UPDATE			/* a unique index or partition key has a
								 * column that a cancel writes */
} RowLocks;

/* What is remembered from one row to the next; zeroed at first */
typedef struct LockView
{
	TransactionId last;			/* that was looked at */
	bool		last_locks;
	MultiXactId oldest_multi;	/* 0: not read yet */
	MultiXactId next_multi;
} LockView;

extern RowLocks row_locks_of(Oid relid, char relkind);
extern bool row_looks_locked(LockView *view, TransactionId xmax);
extern bool may_be_multixact(LockView *view, TransactionId xmax);

#endif							/* PASQAL_JOBS_ROW_LOCKS_H */
