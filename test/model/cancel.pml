/*
 * test/model/cancel.pml
 *	  The protocol of a cancel (src/cancel.c) against arbitrary other sessions.
 *
 * README.md says what each step stands for. Parameters, as -D of spin:
 *
 *	JOBS		rows of the table (2)
 *	FIRST, SECOND	kinds of the two cancels; NO_CALL leaves one out
 *	CHANGES		transactions of each of the other sessions
 *	WORKERS		other sessions
 *	REPEATABLE_READ	both cancels run so
 *	MAX_REPEATS	as in cancel.c
 *	KEPT		a bit mask of jobs that a trigger keeps
 *	LONG_LIST	1: the list of a NAMED cancel is first compared with the batch
 *	SKIPS		1: locked jobs are skipped (chunks always do)
 *
 * FAULT_... plants a fault; run.sh lists them.
 */

#ifndef JOBS
#define JOBS		2
#endif
#ifndef FIRST
#define FIRST		FILTERED
#endif
#ifndef SECOND
#define SECOND		NO_CALL
#endif
#ifndef CHANGES
#define CHANGES		2
#endif
#ifndef WORKERS
#define WORKERS		1
#endif
#ifndef MAX_REPEATS
#define MAX_REPEATS	3
#endif
#ifndef KEPT
#define KEPT		0
#endif
#ifndef LONG_LIST
#define LONG_LIST	0
#endif

#ifndef SKIPS
#define SKIPS		0
#endif

/* Kinds of cancels */
#define NO_CALL		0
#define FILTERED	1			/* the batch, with filters or without */
#define NAMED		2			/* all jobs by id, and other filters */
#define SINGLE		3			/* job 0 by id */
#define CHUNK		4			/* cancel_jobs_in_chunks, one chunk */
#define NAMED_CHUNK	5			/* ... all jobs by id, and other filters */

#define EVERY_ID	(kind == NAMED || kind == SINGLE || kind == NAMED_CHUNK)
#define LISTED(job)	(kind != SINGLE || job == 0)
#define CHUNKED		(kind >= CHUNK)

/*
 * What a row's status can be. No step tells PENDING and RUNNING apart, or DONE
 * and ERROR. No statement of a call sees a row of another batch; so such a row
 * also stands for one that is not inserted yet, and its status does not matter.
 */
#define OPEN		0
#define DONE		1
#define CANCELED	2
#define DELETED		3

/* Answers beside DONE and CANCELED ("its status is ..."), and outcomes in a ledger */
#define NOTHING		0
#define OURS		3			/* canceled by this call; struck off */
#define KEPT_IT		4			/* a trigger or a policy kept it */
#define NOT_FOUND	5
#define NO_MATCH	6
#define STILL_OPEN	7
#define LOCKED_IT	8			/* another transaction has locked it */

/* Of a chunk a locked job is skipped, and waited for in a transaction of its own later */
#define SKIPPING	(SKIPS || CHUNKED)

/* On a relation on which something can keep a job the UPDATE is not repeated */
#if KEPT || defined(FAULT_NO_REPEAT)
#define REPEATS		0
#else
#define REPEATS		MAX_REPEATS
#endif
#if KEPT
#define REPEATS_ALLOWED	0
#else
#define REPEATS_ALLOWED	MAX_REPEATS
#endif

#ifdef FAULT_NO_LOCK
#define LOCKS		0
#elif defined(FAULT_LISTS_TAKE_NO_LOCK)
#define LOCKS		(kind == FILTERED)
#else
#define LOCKS		(kind != SINGLE)
#endif

/* What has no list reads before it waits for the lock */
#ifdef FAULT_LISTS_READ_BEFORE_WAITING
#define MAY_WAIT_LATER	(!CHUNKED)
#else
#define MAY_WAIT_LATER	(kind == FILTERED)
#endif

/* Where a job can be kept, a call that skips names by id what it has locked */
#if KEPT
#define BY_XMAX		0
#else
#define BY_XMAX		1
#endif

/* A chunk looks where its jobs were first, unless something could keep one */
#define BY_PLACE	(CHUNKED && KEPT == 0)

#define CALLS		2
#define NOBODY		0

typedef Row
{
	unsigned status : 2;
	bit batch;					/* of the batch that is canceled? */
	bit match;					/* do the filters match? */
}

/* The table: what is committed, and what the holder of the row's lock wrote */
Row now[JOBS];
Row next[JOBS];
byte holder[JOBS];
byte batch_lock;

#define THERE(row)		(row.status != DELETED && row.batch)
#define ELIGIBLE(row)	(row.batch && row.match && row.status == OPEN)

/* What an onlooker knows of a call. No step of a call reads it, but changed and gone. */
typedef Onlooker
{
	bit running;
	bit changed[JOBS];			/* since the call's snapshot, by others */
	bit gone[JOBS];				/* likewise: deleted, whatever has its id now */
	bit matched[JOBS];			/* as the call began */
	bit work[JOBS];				/* of a chunk: and was open */
	bit absent[JOBS];			/* at some moment: not in the batch */
	bit unmatched[JOBS];		/* at some moment: open, and did not match */
	byte seen[JOBS];			/* bit mask of statuses at some moment */
	byte returns[JOBS];			/* how often it became eligible */
	bit locked[JOBS];			/* at some moment: by another transaction */
	bit touched[JOBS];			/* written by another transaction */
	bit hinted;					/* a job looked locked as the call read */
	bit owed[JOBS];				/* nobody else may lock it any more */
}
Onlooker call[CALLS];

/* The onlooker sees a row as it is now */
inline observe(c, job)
{
	if
	:: THERE(now[job]) ->
		call[c].seen[job] = call[c].seen[job] | (1 << now[job].status);
		if
		:: now[job].status == OPEN && !now[job].match -> call[c].unmatched[job] = 1
		:: else
		fi
	:: else -> call[c].absent[job] = 1
	fi
}

/*
 * A transaction that wrote a row commits. The row is another one with the same
 * id if "anew".
 */
inline publish(job, who, anew)
{
	other = 0;
	do
	:: other < CALLS ->
		if
		:: call[other].running && who != other + 1 ->
			call[other].changed[job] = 1;
			call[other].touched[job] = 1;
			if
			:: anew || next[job].status == DELETED -> call[other].gone[job] = 1
			:: else
			fi;
			if
			:: (anew || !ELIGIBLE(now[job])) && ELIGIBLE(next[job]) && call[other].returns[job] <= MAX_REPEATS ->
				call[other].returns[job]++
			:: else
			fi
		:: else
		fi;
		other++
	:: else -> break
	od;
	now[job].status = next[job].status;
	now[job].batch = next[job].batch;
	now[job].match = next[job].match;
	other = 0;
	do
	:: other < CALLS ->
		if
		:: call[other].running && who != other + 1 -> observe(other, job)
		:: else
		fi;
		other++
	:: else -> break
	od;
	other = 0
}

#define OTHERS_HAVE(row)	(holder[row] != NOBODY && holder[row] != me + 1 && !call[me].gone[row])

/* A transaction locks a row */
inline acquire(job, who)
{
	holder[job] = who;
	other = 0;
	do
	:: other < CALLS ->
		if
		:: call[other].running && who != other + 1 ->
			assert(!call[other].owed[job]);
			call[other].locked[job] = 1
		:: else
		fi;
		other++
	:: else -> break
	od;
	other = 0
}

/* A row that no transaction writes needs no second version */
inline release(job)
{
	next[job].status = 0;
	next[job].batch = 0;
	next[job].match = 0;
	holder[job] = NOBODY
}

inline any_version(version)
{
	if
	:: version.batch = 1; version.match = 0; version.status = OPEN
	:: version.batch = 1; version.match = 0; version.status = DONE
	:: version.batch = 1; version.match = 0; version.status = CANCELED
	:: version.batch = 1; version.match = 1; version.status = OPEN
	:: version.batch = 1; version.match = 1; version.status = DONE
	:: version.batch = 1; version.match = 1; version.status = CANCELED
	:: version.batch = 0; version.match = 0; version.status = OPEN
	fi
}

/*
 * Another session. Each transaction writes one row, in any way: it may start,
 * end, edit, move, reset, delete or insert a job, also one whose id was there
 * before, and roll that back.
 */
proctype worker(byte me)
{
	byte changes = CHANGES;
	byte job = 0, other = 0;

	do
	:: changes > 0 ->
		atomic
		{
			/* to choose a row that is locked, and wait, is to choose it later */
			if
			:: holder[0] == NOBODY -> job = 0
#if JOBS > 1
			:: holder[1] == NOBODY -> job = 1
#endif
#if JOBS > 2
			:: holder[2] == NOBODY -> job = 2
#endif
			fi;
			acquire(job, me);
			any_version(next[job]);
			if
			:: true
			:: now[job].status != DELETED ->
				next[job].status = DELETED; next[job].batch = 0; next[job].match = 0
			fi
		}
		atomic
		{
			if
			:: publish(job, me, 0)
			:: now[job].status != DELETED && next[job].status != DELETED -> publish(job, me, 1)
			:: true					/* ROLLBACK */
			fi;
			release(job);
			job = 0;
			changes--
		}
	:: else -> break
	od
}

/* The row as this transaction sees it in a snapshot taken now */
#define STATUS(job)	(wrote[job] -> next[job].status : now[job].status)
#define BATCH(job)	(wrote[job] -> next[job].batch : now[job].batch)
#define MATCH(job)	(wrote[job] -> next[job].match : now[job].match)

inline snapshot()
{
	j = 0;
	do
	:: j < JOBS ->
		snap[j].status = STATUS(j);
		snap[j].batch = BATCH(j);
		snap[j].match = MATCH(j);
		call[me].changed[j] = 0;
		call[me].gone[j] = 0;
		j++
	:: else -> break
	od;
	j = 0
}

/* Each statement takes a snapshot; under REPEATABLE READ the first one's serves all */
inline statement_snapshot()
{
#ifdef REPEATABLE_READ
	j = 0;
	do
	:: j < JOBS ->
		if
		:: wrote[j] -> snap[j].status = CANCELED
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0
#else
	snapshot()
#endif
}

/* STATEMENT_MATCH and enter_match; or enter_listed; or the work list of chunks.c */
inline first_read()
{
	j = 0;
	do
	:: j < JOBS ->
		if
		:: !LISTED(j)
		:: LISTED(j) && (kind == NAMED || kind == SINGLE) ->
			ledger[j] = (LONG_LIST && !THERE(snap[j]) -> NOT_FOUND : STILL_OPEN)
		:: (kind == FILTERED || CHUNKED) && ELIGIBLE(snap[j]) -> ledger[j] = STILL_OPEN
		:: (kind == FILTERED || CHUNKED) && THERE(snap[j]) && snap[j].status != OPEN &&
				(snap[j].match || EVERY_ID) ->
			ledger[j] = (look_at_all -> STILL_OPEN : snap[j].status)
		:: kind == NAMED_CHUNK && THERE(snap[j]) && snap[j].status == OPEN && !snap[j].match ->
			ledger[j] = NO_MATCH
		:: kind == NAMED_CHUNK && !THERE(snap[j]) -> ledger[j] = NOT_FOUND
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0
}

/*
 * Does a job that could be canceled look locked?  Then what is free is locked
 * before the UPDATE waits.
 */
inline look_for_locks()
{
	do
	:: j < JOBS ->
		if
		:: kind != SINGLE && ELIGIBLE(snap[j]) && OTHERS_HAVE(j) -> call[me].hinted = 1
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0;
#ifndef FAULT_NO_HINT
	ahead = call[me].hinted
#endif
}

/* strike_off */
inline strike_off(job)
{
	canceled++;
	assert(told[job] == NOTHING);
	told[job] = OURS;
#ifdef FAULT_COUNTS_TWICE
	if
	:: ledger[job] == STILL_OPEN -> ledger[job] = OURS
	:: else
	fi
#else
	if
	:: ledger[job] != NOTHING -> ledger[job] = OURS
	:: else
	fi
#endif
}

/* The jobs that an UPDATE is for: with a list they are those that are still open */
#ifdef FAULT_CHUNK_TRIES_ENDED
#define WANTED(job)	(ledger[job] == STILL_OPEN || kind == CHUNK && ledger[job] != NOTHING)
#else
#define WANTED(job)	(ledger[job] == STILL_OPEN)
#endif

/* STATEMENT_LOCK: as an UPDATE visits rows, but none is waited for */
inline lock_rows(listed, by_place)
{
	atomic
	{
		statement_snapshot();
		newly = 0;
		do
		:: j < JOBS ->
#ifdef FAULT_LOCKS_WITHOUT_CONDITIONS
			to_do[j] = THERE(snap[j]) && (!(listed) || WANTED(j));
#else
			to_do[j] = ELIGIBLE(snap[j]) && (!(listed) || WANTED(j));
#endif
			if
			:: true
			:: by_place && to_do[j] -> to_do[j] = 0
			fi;
			j++
		:: else -> break
		od;
		j = 0
	}
	do
	:: atomic { !failed && to_do[0] -> row = 0 };
		take()
#if JOBS > 1
	:: atomic { !failed && to_do[1] -> row = 1 };
		take()
#endif
#if JOBS > 2
	:: atomic { !failed && to_do[2] -> row = 2 };
		take()
#endif
	:: else -> break
	od
}

inline take()
{
	atomic
	{
		to_do[row] = 0;
		if
		:: OTHERS_HAVE(row)
		:: else ->
			write_it = 1;
			if
			:: call[me].changed[row] ->
#if defined(REPEATABLE_READ) && !defined(FAULT_NO_40001)
				failed = 1;
				write_it = 0
#else
				write_it = ELIGIBLE(now[row]) && !call[me].gone[row]
#endif
			/* only what is to be canceled is locked, or was as it was read */
			:: else -> assert(ELIGIBLE(now[row]))
			fi;
			if
			:: !failed && !call[me].gone[row] -> acquire(row, me + 1)
			:: else
			fi;
			if
			:: write_it && !held[row] -> held[row] = 1; newly = 1
			:: else
			fi;
			write_it = 0
		fi;
		row = 0
	}
}

/* From the UPDATE on a job that was free all the time is the call's, if one was not */
inline owe()
{
	do
	:: j < JOBS ->
		call[me].owed[j] = call[me].hinted && call[me].matched[j] && ELIGIBLE(now[j]) &&
			!call[me].locked[j] && !call[me].touched[j];
		j++
	:: else -> break
	od;
	j = 0
}

/*
 * STATEMENT_CANCEL: the rows of the snapshot that meet the conditions are
 * visited one by one, in any order. Each is locked once its holder has ended,
 * and its last version is what the conditions must hold for.
 */
inline update(listed)
{
	atomic
	{
		statement_snapshot();
		do
		:: j < JOBS ->
#ifdef FAULT_SKIP_WAITS
			to_do[j] = ELIGIBLE(snap[j]) && (!(listed) || WANTED(j));
#else
			to_do[j] = ELIGIBLE(snap[j]) && (SKIPPING ->
				held[j] && (BY_XMAX || WANTED(j)) : !(listed) || WANTED(j));
#endif
			j++
		:: else -> break
		od;
		j = 0;
		owe()
	}
	do
	:: atomic { !failed && to_do[0] -> row = 0 };
		visit()
#if JOBS > 1
	:: atomic { !failed && to_do[1] -> row = 1 };
		visit()
#endif
#if JOBS > 2
	:: atomic { !failed && to_do[2] -> row = 2 };
		visit()
#endif
	:: else -> break
	od
}

inline visit()
{
	atomic
	{
		/* the lock of a row that has its deleted one's id is not waited for */
		if
		:: SKIPPING -> assert(!OTHERS_HAVE(row))
		:: !SKIPPING && !OTHERS_HAVE(row)
		fi;
		to_do[row] = 0;
		write_it = 1;
		if
		:: call[me].changed[row] ->
#if defined(REPEATABLE_READ) && !defined(FAULT_NO_40001)
			failed = 1;
			write_it = 0
#elif defined(FAULT_NO_RECHECK)
			write_it = !call[me].gone[row]
#elif defined(FAULT_RECHECKS_STATUS_ONLY)
			write_it = now[row].status == OPEN && !call[me].gone[row]
#else
			write_it = ELIGIBLE(now[row]) && !call[me].gone[row]
#endif
		:: else
		fi;
		if
		:: !failed && !call[me].gone[row] -> acquire(row, me + 1)
		:: else
		fi;
		if
		:: write_it && ((KEPT >> row) & 1) == 0 ->
			/* only an open job of the batch that matches is ever canceled */
			assert(ELIGIBLE(now[row]));
			next[row].status = CANCELED;
			next[row].batch = now[row].batch;
			next[row].match = now[row].match;
			wrote[row] = 1;
			strike_off(row)
		:: else
		fi;
#ifdef FAULT_BELIEVES_SNAPSHOT
		if
		:: !write_it && !failed -> strike_off(row)
		:: else
		fi;
#endif
		row = 0;
		write_it = 0
	}
}

/* STATEMENT_LOOK and settle */
inline look(may_repeat)
{
	atomic
	{
#ifndef FAULT_LOOKS_WITH_OLD_SNAPSHOT
		statement_snapshot();
#endif
		came_back = 0;
		do
		:: j < JOBS ->
			if
			:: ledger[j] == STILL_OPEN && THERE(snap[j]) ->
				if
				:: snap[j].status != OPEN -> ledger[j] = snap[j].status
				:: snap[j].status == OPEN && snap[j].match ->
					if
					:: may_repeat && !held[j] -> came_back = 1
#ifdef FAULT_KEPT_IS_LOCKED
					:: else -> ledger[j] = (SKIPPING -> LOCKED_IT : KEPT_IT)
#elif defined(FAULT_LOCKED_IS_KEPT)
					:: else -> ledger[j] = KEPT_IT
#elif defined(FAULT_SKIPPED_UNANSWERED)
					:: else -> ledger[j] = (SKIPPING && !held[j] -> NOTHING : KEPT_IT)
#else
					:: else -> ledger[j] = (SKIPPING && !held[j] -> LOCKED_IT : KEPT_IT)
#endif
					fi
				:: snap[j].status == OPEN && !snap[j].match && EVERY_ID -> ledger[j] = NO_MATCH
				:: else
				fi
			:: else
			fi;
			j++
		:: else -> break
		od;
		j = 0
	}
}

inline tell(job, what)
{
	assert(told[job] == NOTHING);
	told[job] = what
}

/* ledger_report */
inline report()
{
	do
	:: j < JOBS ->
		if
		:: ledger[j] == NOTHING || ledger[j] == OURS
		:: ledger[j] == STILL_OPEN ->
#ifndef FAULT_NAMED_UNANSWERED
			if
			:: EVERY_ID -> tell(j, NOT_FOUND)
			:: else
			fi
#else
			skip
#endif
		:: else -> tell(j, ledger[j])
		fi;
		j++
	:: else -> break
	od;
	j = 0
}

/* The invariants, as the call ends */
inline judge()
{
	do
	:: j < JOBS ->
		/* canceled by this call, and by it alone */
		assert((told[j] == OURS) == wrote[j]);
		assert(!wrote[j] || holder[j] == me + 1 && next[j].status == CANCELED);
		canceled = canceled - wrote[j];

		/* a chunk cancels what was to be canceled as its list was read */
		assert(!wrote[j] || !CHUNKED || call[me].work[j]);

		/* failed: true at some moment of the call */
		assert(told[j] < DONE || told[j] > CANCELED || (call[me].seen[j] >> told[j]) & 1);
		assert(told[j] != NOT_FOUND || call[me].absent[j]);
		assert(told[j] != NO_MATCH || call[me].unmatched[j]);
		assert(told[j] != LOCKED_IT || SKIPPING && call[me].locked[j] && holder[j] != me + 1 &&
			(call[me].seen[j] >> OPEN) & 1);
		assert(told[j] != KEPT_IT || ((KEPT >> j) & 1) || call[me].returns[j] > REPEATS_ALLOWED);

		/* nothing invented */
		assert(told[j] == NOTHING || told[j] == OURS || (EVERY_ID -> LISTED(j) : call[me].matched[j]));

		/* nothing lost */
		assert(told[j] != NOTHING || (EVERY_ID -> !LISTED(j) :
			!call[me].matched[j] || call[me].absent[j] || call[me].unmatched[j]));
		j++
	:: else -> break
	od;
	assert(canceled == 0);
	j = 0
}

/* What the onlooker knows as the call begins */
inline begin()
{
	call[me].running = 1;
	do
	:: j < JOBS ->
		call[me].matched[j] = THERE(now[j]) && now[j].match;
		call[me].work[j] = CHUNKED && ELIGIBLE(now[j]);
		call[me].locked[j] = OTHERS_HAVE(j);
		observe(me, j);
		j++
	:: else -> break
	od;
	j = 0
}

/*
 * A call that has waited owes what was true since then, as a chunk does for the
 * jobs of its list
 */
inline forget()
{
#ifdef REPEATABLE_READ
	skip
#else
	do
	:: j < JOBS ->
		if
		:: !CHUNKED || ledger[j] == STILL_OPEN ->
			call[me].seen[j] = 0;
			call[me].absent[j] = 0;
			call[me].unmatched[j] = 0;
			observe(me, j)
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0
#endif
}

/* A chunk of one job takes no lock */
inline count_work_list()
{
	do
	:: j < JOBS ->
		row = row + (ledger[j] == STILL_OPEN);
		j++
	:: else -> break
	od;
	locks = locks && row > 1;
	row = 0;
	j = 0
}

proctype cancel(byte me; byte kind)
{
	Row snap[JOBS];
	byte ledger[JOBS];
	byte told[JOBS];
	bit wrote[JOBS], to_do[JOBS], held[JOBS];
	bit lists = kind != FILTERED, in_place = BY_PLACE, ahead = 0, newly = 1, again = 0;
	bit look_at_all = 0, came_back = 0, failed = 0, write_it = 0, locks = LOCKS, locked = 0;
	byte canceled = 0, repeats = 0, row = 0, j = 0, other = 0;

	/* the work list, in a transaction of its own */
	if
	:: CHUNKED ->
		atomic
		{
			begin();
			snapshot();
			first_read();
			count_work_list()
		}
	:: else
	fi;

#ifdef REPEATABLE_READ
	/* the transaction's snapshot, maybe of a statement before the call */
	atomic
	{
		if
		:: CHUNKED
		:: else -> begin()
		fi;
		snapshot()
	}
#endif

	/* the lock; a call that may wait later goes on without */
	atomic
	{
		if
		:: !locks || batch_lock == NOBODY -> locked = 1
		:: locks && batch_lock != NOBODY && MAY_WAIT_LATER
		fi;
		if
		:: locks && locked -> batch_lock = me + 1
		:: else
		fi;
		if
		:: CHUNKED -> forget()
		:: else
		fi
	}

	/* the first read; what a call answers for is what matches now */
	if
	:: !CHUNKED ->
		atomic
		{
#ifndef REPEATABLE_READ
			begin();
			snapshot();
#endif
#ifdef FAULT_TRUSTS_FREE_LOCK
			look_at_all = !locked && batch_lock != NOBODY;
#elif !defined(FAULT_ANSWERS_BEFORE_WAITING)
			look_at_all = !locked;
#endif
#ifdef FAULT_READS_AFTER_WAITING
			if
			:: locked -> first_read()
			:: else
			fi;
#else
			first_read();
#endif
			look_for_locks()
		}
	:: else
	fi;

	/* the lock, if it was not to be had at once */
	if
	:: !locked ->
		atomic
		{
			batch_lock == NOBODY;
			batch_lock = me + 1;
			forget();
#ifdef FAULT_READS_AFTER_WAITING
			statement_snapshot();
			first_read();
#endif
			locked = 1
		}
	:: else
	fi;

#ifdef FAULT_LOOKS_BEFORE_UPDATE
	look(1);
#endif
	/* cancel_in_place, then cancel_requested; look_at_open, which repeats the latter */
	do
	:: if
		:: ahead || SKIPPING -> lock_rows(lists, in_place)
		:: else
		fi;
		if
		:: !failed && (newly || !SKIPPING) -> update(lists)
		:: else
		fi;
		if
		:: failed -> break
		:: !failed && in_place -> in_place = 0
		:: else ->
#if defined(FAULT_NO_LOOK) || defined(FAULT_LOOKS_BEFORE_UPDATE)
			break
#else
			if
			:: repeats > 0 || !SKIPPING
			:: else -> newly = 1
			fi;
			atomic { again = (SKIPPING -> (newly && repeats < MAX_REPEATS) : (repeats < REPEATS)) };
			look(again);
			if
			:: came_back -> repeats++; lists = 1
			:: else -> break
			fi
#endif
		fi
	od;

	atomic
	{
		if
		:: !failed -> report(); judge()
		:: else
		fi;
		call[me].running = 0;
		do
		:: j < JOBS -> call[me].owed[j] = 0; j++
		:: else -> break
		od;
		j = 0
	}

	/* COMMIT, or ROLLBACK */
	atomic
	{
		if
		:: !failed -> locked = 1
		:: locked = 0
		fi;
		do
		:: j < JOBS ->
			if
			:: locked && wrote[j] -> publish(j, me + 1, 0)
			:: else
			fi;
			if
			:: holder[j] == me + 1 -> release(j)
			:: else
			fi;
			j++
		:: else -> break
		od;
		if
		:: batch_lock == me + 1 -> batch_lock = NOBODY
		:: else
		fi
	}
}

/* Any table, any sessions */
init
{
	byte job = 0;

	atomic
	{
		do
		:: job < JOBS ->
			any_version(now[job]);
			job++
		:: else -> break
		od;
		job = 0;
		run cancel(0, FIRST);
		if
		:: SECOND != NO_CALL -> run cancel(1, SECOND)
		:: else
		fi;
		do
		:: job < WORKERS -> run worker(CALLS + 1 + job); job++
		:: else -> break
		od;
		job = 0
	}
}
