package zimbra

import "context"

// A step is one named thing that a move does. It may be done again at any time: a crash between acting and writing that down is normal.
type step struct {
	name  string
	phase Phase
	// prepare reads what the journal must know before do acts; its answer is the data of the "begun" entry. It changes nothing.
	prepare func(mv *Move, ctx context.Context) (any, error)
	// do acts. Its answer is the data of the "done" entry.
	do func(mv *Move, ctx context.Context) (any, error)
}

// The names of the steps, as journals keep them. A name is never given another meaning.
const (
	stepPlan          = "plan"
	stepOpen          = "open"
	stepAsk           = "ask-directory"
	stepTakeOver      = "take-over"
	stepReserve       = "reserve-id"
	stepMakeTrees     = "make-trees"
	stepPresyncFiles  = "presync-files"
	stepPresyncRows   = "presync-rows"
	stepReady         = "ready"
	stepLockAccount   = "lock-account"
	stepWaitLocked    = "wait-directory"
	stepFlushLocked   = "flush-account"
	stepLockMailbox   = "lock-mailbox"
	stepQuiet         = "quiet"
	stepUnpublish     = "unpublish"
	stepCopyBlobs     = "copy-blobs"
	stepCopyIndex     = "copy-index"
	stepLoadRows      = "load-rows"
	stepVerifyRows    = "verify-rows"
	stepVerifyBlobs   = "verify-blobs"
	stepDurableFiles  = "durable-files"
	stepPublish       = "publish"
	stepProveLock     = "prove-lock"
	stepForgetMailbox = "forget-mailbox-keys"
	stepCommit        = "commit"
	stepTakeFinish    = "take-over-finish"
	stepWaitMoved     = "wait-directory-moved"
	stepFlushMoved    = "flush-moved"
	stepForgetRoutes  = "forget-routes"
	stepCheckHome     = "check-home"
	stepLoadMailbox   = "load-mailbox"
	stepLockSource    = "lock-source"
	stepRestoreStatus = "restore-status"
	stepWaitServed    = "wait-directory-served"
	stepFlushServed   = "flush-served"
	stepCleanup       = "cleanup"
	stepUnmark        = "unmark-trees"
	stepEnd           = "end"
	stepReopenAccount = "reopen-account"
	stepUnlockMailbox = "unlock-mailbox"
	stepWaitReopened  = "wait-directory-reopened"
	stepFlushReopened = "flush-reopened"
	stepSettle        = "settle"
	stepRollback      = "rollback"
	stepRollbackTake  = "take-over-rollback"
	stepRemoveRows    = "remove-rows"
	stepRemoveFiles   = "remove-files"
	stepEndRollback   = "end-rollback"
)

// steps is the move, in order. next (state.go) picks from it; nothing else decides what comes when.
func steps() []step {
	return []step{
		{stepAsk, phaseAsk, nil, (*Move).askDirectory}, // only when a commit was begun and not answered

		{stepTakeOver, PhasePresync, (*Move).nextFence, (*Move).takeOver},
		{stepReserve, PhasePresync, nil, (*Move).reserve},
		{stepMakeTrees, PhasePresync, nil, (*Move).makeTrees},
		{stepPresyncFiles, PhasePresync, nil, (*Move).presyncFiles},
		{stepPresyncRows, PhasePresync, nil, (*Move).presyncRows}, // after the files, which take longer: so little changes until the lock

		{stepReady, PhaseReady, nil, (*Move).ready},

		{stepLockAccount, PhaseCutover, (*Move).readStatus, (*Move).lockAccount},
		{stepWaitLocked, PhaseCutover, nil, (*Move).waitLocked},
		{stepFlushLocked, PhaseCutover, nil, (*Move).flushEverywhere},
		{stepLockMailbox, PhaseCutover, nil, (*Move).lockMailbox},
		{stepQuiet, PhaseCutover, nil, (*Move).quiet},
		{stepUnpublish, PhaseCutover, nil, (*Move).unpublish},
		{stepCopyBlobs, PhaseCutover, nil, (*Move).copyBlobs},
		{stepCopyIndex, PhaseCutover, nil, (*Move).copyIndex},
		{stepLoadRows, PhaseCutover, nil, (*Move).loadRows},
		{stepVerifyRows, PhaseCutover, nil, (*Move).verifyRows},
		{stepVerifyBlobs, PhaseCutover, nil, (*Move).verifyBlobs},
		{stepDurableFiles, PhaseCutover, nil, (*Move).durableFiles},
		{stepPublish, PhaseCutover, (*Move).readUndo, (*Move).publish},
		{stepProveLock, PhaseCutover, nil, (*Move).proveLock},
		{stepForgetMailbox, PhaseCutover, nil, (*Move).forgetMailboxKeys},
		{stepCommit, PhaseCutover, (*Move).demandChecks, (*Move).commit},

		{stepTakeFinish, PhaseFinish, (*Move).finishFence, (*Move).claimFinish},
		{stepWaitMoved, PhaseFinish, nil, (*Move).waitMoved},
		{stepFlushMoved, PhaseFinish, nil, (*Move).flushDest},
		{stepForgetRoutes, PhaseFinish, nil, (*Move).forgetRoutes},
		{stepCheckHome, PhaseFinish, nil, (*Move).checkHome},
		{stepLoadMailbox, PhaseFinish, nil, (*Move).loadMailbox},
		{stepLockSource, PhaseFinish, nil, (*Move).lockSource},
		{stepRestoreStatus, PhaseFinish, nil, (*Move).restoreStatus},
		{stepWaitServed, PhaseFinish, nil, (*Move).waitMoved},
		{stepFlushServed, PhaseFinish, nil, (*Move).flushServed},
		{stepCleanup, PhaseFinish, nil, (*Move).cleanup},
		{stepUnmark, PhaseFinish, nil, (*Move).unmarkTrees},
		{stepEnd, PhaseFinish, nil, (*Move).end},

		{stepReopenAccount, PhaseRelease, nil, (*Move).reopenAccount},
		{stepUnlockMailbox, PhaseRelease, nil, (*Move).unlockMailbox},
		{stepWaitReopened, PhaseRelease, nil, (*Move).waitReopened},
		{stepFlushReopened, PhaseRelease, nil, (*Move).flushReopened},
		{stepSettle, PhaseRelease, nil, (*Move).settle},

		{stepRollbackTake, PhaseRollback, (*Move).nextFence, (*Move).takeOver},
		{stepRemoveRows, PhaseRollback, nil, (*Move).removeRows},
		{stepRemoveFiles, PhaseRollback, nil, (*Move).removeFiles},
		{stepEndRollback, PhaseRollback, nil, (*Move).end},
	}
}

// commitDemands are the checks without which no account changes its home. The list stands apart from the steps on purpose: a step
// that was taken out, renamed or not run is missed here.
var commitDemands = []string{
	stepTakeOver, stepReserve, stepReady,
	stepLockAccount, stepWaitLocked, stepFlushLocked, stepLockMailbox, stepQuiet,
	stepCopyBlobs, stepCopyIndex, stepLoadRows, stepVerifyRows, stepVerifyBlobs, stepDurableFiles,
	stepPublish, stepProveLock, stepForgetMailbox,
}

// StepNames returns the names of all steps of a move in their order, for programs that show or test them.
func StepNames() []string {
	var names []string
	for _, st := range steps() {
		names = append(names, st.name)
	}
	return names
}
