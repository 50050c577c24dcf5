// Package hoststest is the suite that says what a machine must be to Patchbay: what
// it does with files, processes and connections, whether it is this one or reached
// over a network. The suite has eyes of its own on the files.
package hoststest

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"patchbay.dev/patchbay/hosts"
)

// Harness gives [Host] machines.
type Harness struct {
	// New is the machine as a process sees it that has just started; it ends with
	// the test.
	New func(t testing.TB) hosts.Host
	// Dir is an empty directory that the machine and the test see under the same
	// path, and where both may do anything.
	Dir func(t testing.TB) string
	// Signals says that the processes of the machine are the test's too.
	Signals bool
	// Kills says that a program ends, with what it has started, when its context does.
	Kills bool
	// Attributes says that a file that is replaced keeps its extended attributes.
	Attributes bool
}

type suite struct{ Harness }

// Host runs the suite.
func Host(t *testing.T, h Harness) {
	t.Helper()
	s := suite{h}
	t.Run("ReadFileReadsFilesOnly", s.readFileReadsFilesOnly)
	t.Run("ReplaceFileFollowsLinks", s.replaceFileFollowsLinks)
	t.Run("ReplaceFileLeavesNothingWhenItFails", s.replaceFileLeavesNothingWhenItFails)
	t.Run("RemoveFileRemovesWhatItKnows", s.removeFileRemovesWhatItKnows)
	t.Run("TemporaryFileIsBesideTheFile", s.aTemporaryFileIsBesideTheFile)
	t.Run("WhatIsNoFileOrMarkedReadOnlyIsNotReplaced", s.whatIsNoFileOrMarkedReadOnlyIsNotReplaced)
	t.Run("RemovedMeanwhileStaysRemoved", s.aFileThatWasRemovedMeanwhileStaysRemoved)
	t.Run("SweepTakesWhatACrashLeft", s.sweepTakesWhatACrashLeft)
	t.Run("ReplacedFileKeepsItsOwner", s.aReplacedFileKeepsItsOwner)
	t.Run("ReplacedFileKeepsItsAttributes", s.aReplacedFileKeepsItsAttributes)
	t.Run("HostileNames", s.hostileNames)
	t.Run("PublishedDirectories", s.publishedDirectories)
	t.Run("PublishGoesOnAfterACrash", s.publishGoesOnAfterACrash)
	t.Run("TagLeadsNowhere", s.aTagLeadsNowhere)
	t.Run("PublishedBelongsToWhoseTheDirectoryIs", s.whatIsPublishedBelongsToWhoseTheDirectoryIs)
	t.Run("OneGenerationMayHoldSomethingElse", s.oneGenerationMayHoldSomethingElse)
	t.Run("OthersThingsInAPublishedDirectoryStay", s.whatOthersHaveInAPublishedDirectoryStays)
	t.Run("ReadPublishedReadsSoMuchAndOnlyADirectory", s.readPublishedReadsSoMuchAndOnlyADirectory)
	t.Run("LockIsOneAtATimeAndEndsWithItsContext", s.lockIsOneAtATimeAndEndsWithItsContext)
	t.Run("RunTellsExitOutputAndFailure", s.runTellsExitOutputAndFailure)
	t.Run("CommandsReadWhatTheyAreGiven", s.commandsReadWhatTheyAreGiven)
	t.Run("ArgumentsAreNoShells", s.argumentsAreNoShells)
	t.Run("Signals", s.signalsReachOneProcess)
	t.Run("SoMuchOutputIsKept", s.ofACommandsOutputSoMuchIsKept)
	t.Run("CommandEndsWithAllThatItStarted", s.aCommandEndsWithAllThatItStarted)
	t.Run("DaemonThatKeepsTheOutputIsNotWaitedFor", s.aDaemonThatKeepsTheOutputIsNotWaitedFor)
	t.Run("SocketsAreDialed", s.socketsAreDialed)
}

const dataLink = "..data"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// names are what is in a directory, sorted.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// owner is who a file belongs to.
func owner(info fs.FileInfo) (uid, gid int) {
	st, _ := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}

// hostile are names that a file may have, and arguments that a program may get.
var hostile = []string{
	"a b", " a", "a ", "it's", `"q"`, "a\nb", "\n", "-rf", "--", "$(touch x)", "`id`", "$HOME", "~", "*", "?", "[a]", "a;b", "a&&b", "a|b", "a>b", "#a", `back\slash`, `\`, "é€𝄞", "a\tb", "!h", "!!", "^a^b",
	"{a,b}", "%s", "a=b", "\x01\x7f", "\xff\xfe", "''", `'"'"'`, "\r", "a\\\nb", "$'x'", "<(id)", "(a)",
}
