package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/zimbra"
)

// A session is one verb at work.
type session struct {
	*app
	cluster *cluster
	mover   *zimbra.Mover
	records zimbra.Journals
	dir     string // where the journals lie
}

// open makes the Mover that the configuration describes. It dials nothing.
func (a *app) open() (*session, error) {
	cfg, err := readConfig(a.args.config, a.getenv)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.warnings {
		a.say("warning: %s", w)
	}
	cl, err := cfg.connect()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.stores = cfg.stores
	a.mu.Unlock()
	s := &session{app: a, cluster: cl}
	if err := s.make(cl.config); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) make(cfg zimbra.Config) error {
	if s.world != nil {
		s.world(&cfg)
	}
	if cfg.Journals == nil {
		cfg.Journals = zimbra.DirJournals(cfg.StateDir)
	}
	if s.journals != nil {
		cfg.Journals = s.journals(cfg.Journals)
	}
	if s.args.json {
		cfg.OnEvent = s.printJSON
	} else {
		s.progress = newProgress(s.err, s.terminal)
		cfg.OnEvent = s.progress.event
	}
	s.records, s.dir = cfg.Journals, cfg.StateDir
	var err error
	if s.mover, err = zimbra.New(cfg); err != nil {
		return err
	}
	return s.destination(slices.Sorted(maps.Keys(cfg.Stores)))
}

// destination spells --to as the configuration does.
func (s *session) destination(hosts []string) error {
	if s.args.to == "" {
		return nil
	}
	for _, host := range hosts {
		if strings.EqualFold(host, s.args.to) {
			s.args.to = host
			return nil
		}
	}
	return fmt.Errorf("--to %s: not in [stores]; there are %s", s.args.to, strings.Join(hosts, ", "))
}

func (s *session) close() {
	if err := s.cluster.close(); err != nil {
		s.say("warning: %v", err)
	}
}

// moves returns where every move stands, oldest first, and how many journals cannot be read; each of those is said.
func (s *session) moves(ctx context.Context) (all []zimbra.Status, unreadable int, err error) {
	for st, err := range s.mover.Moves(ctx) {
		switch {
		case err == nil:
			all = append(all, st)
		case ctx.Err() != nil || st.Move == "":
			return nil, 0, err
		case s.empty(ctx, st.Move):
		default:
			s.say("%v", err)
			unreadable++
		}
	}
	return all, unreadable, nil
}

// empty says whether a journal has no entry: whoever made it died, or is just about to write the first. There is no move then.
func (s *session) empty(ctx context.Context, move string) bool {
	entries, err := s.records.Read(ctx, move)
	return err == nil && len(entries) == 0
}

var errSeveral = errors.New("that fits several")

// history returns the moves of the account that was asked for, to the store that was asked for if any, oldest first. It asks no server.
func (s *session) history(ctx context.Context) (ours []zimbra.Status, unreadable int, err error) {
	all, unreadable, err := s.moves(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, st := range all {
		if s.args.account != "" && !names(st, s.args.account) || s.args.to != "" && st.To != s.args.to {
			continue
		}
		ours = append(ours, st)
	}
	return ours, unreadable, nil
}

// names says whether that is the account of the move.
func names(st zimbra.Status, account string) bool {
	same := func(s string) bool { return strings.EqualFold(s, account) }
	return same(st.Account) || same(st.AccountID) || slices.ContainsFunc(st.Addresses, same)
}

// last returns the move to work on: the one that is not ended, or else the last one. None is zimbra.ErrNoMove; when an address was given
// from one account to another, or when several moves are open, errSeveral.
func (s *session) last(ctx context.Context) (zimbra.Status, error) {
	ours, _, err := s.history(ctx)
	if err != nil {
		return zimbra.Status{}, err
	}
	if len(ours) == 0 {
		return zimbra.Status{}, s.none()
	}
	found := ours[len(ours)-1]
	var open []string
	for _, st := range ours {
		if st.AccountID != found.AccountID {
			return found, fmt.Errorf("%w accounts: %s and %s; give the zimbraId", errSeveral, st.AccountID, found.AccountID)
		}
		if !ended(st) {
			open = append(open, st.To)
			found = st
		}
	}
	if len(open) > 1 {
		return found, fmt.Errorf("%w moves, to %s; give --to", errSeveral, strings.Join(open, " and "))
	}
	return found, nil
}

// none is the error that there is no journal of what was asked for.
func (s *session) none() error {
	to := ""
	if s.args.to != "" {
		to = " to " + s.args.to
	}
	return fmt.Errorf("%w: %s%s, below %s", zimbra.ErrNoMove, s.args.account, to, s.dir)
}

func ended(st zimbra.Status) bool {
	return st.Outcome == zimbra.OutcomeMoved || st.Outcome == zimbra.OutcomeRolledBack
}
