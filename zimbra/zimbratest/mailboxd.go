package zimbratest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/zmlift/zmlift/ldapattr"
	"github.com/zmlift/zmlift/mboxdb"
	"github.com/zmlift/zmlift/zimbra"
)

// A mailboxd has the behaviours of the real one that decide a move: what it caches, when it looks again, and what it does to someone who
// asks at the wrong moment.
type mailboxd struct {
	accounts map[string]cached           // account cache (ldap_cache_account_maxage)
	ids      map[string]mboxdb.MailboxID // mailbox/MailboxManager: account → mailbox id, filled at start, never forgotten
	loaded   map[mboxdb.MailboxID]bool   // Mailbox objects: served without a host check
	locked   map[string]bool             // lockouts: in memory only
}

type cached struct {
	entry ldapattr.Entry
	until time.Time
}

func newMailboxd() mailboxd {
	return mailboxd{map[string]cached{}, map[string]mboxdb.MailboxID{}, map[mboxdb.MailboxID]bool{}, map[string]bool{}}
}

// restart restarts a store's mailboxd: caches and lockouts are gone, and every mailbox row is known.
func (w *World) restart(host string) {
	s := w.stores[host]
	s.daemon = newMailboxd()
	for account, id := range s.homes {
		s.daemon.ids[account] = id
	}
}

// account is the account's entry as that mailboxd knows it: from its cache, or as the replica shows it now.
func (w *World) account(s *store, id string, fresh bool) (ldapattr.Entry, error) {
	if c, ok := s.daemon.accounts[id]; ok && !fresh && w.now.Before(c.until) {
		return c.entry, nil
	}
	e, err := w.shown(id)
	if err != nil {
		return e, err
	}
	s.daemon.accounts[id] = cached{e, w.now.Add(cacheAge)}
	return e, nil
}

// open finds a mailbox as MailboxManager does, and makes one where the account lives here and has none.
func (w *World) open(s *store, account string) (mboxdb.MailboxID, bool) {
	d := &s.daemon
	id, known := d.ids[account]
	if !known {
		row, ok := s.homes[account]
		if !ok {
			row = s.nextID
			s.nextID++
			s.homes[account] = row
			s.rows[row], s.blobs[row] = map[string]string{}, map[string]string{}
			w.strays = append(w.strays, fmt.Sprintf("%d on %s", row, s.host))
		}
		d.ids[account], id = row, row
	}
	if s.homes[account] != id {
		return 0, false // mail.NO_SUCH_MBOX: the row has another id than the one it remembers
	}
	d.loaded[id] = true
	return id, true
}

// lmtp delivers a message, and returns what the server answers: 250, 450 or 451 (try again), 554 (bounced).
func (w *World) lmtp(host, account, msg string, hops int) int {
	s := w.stores[host]
	e, err := w.account(s, account, false)
	if err != nil {
		return 451
	}
	switch e.Value("zimbraAccountStatus") {
	case "maintenance":
		return 450
	case "closed", "pending":
		return 554
	}
	if home := e.Value("zimbraMailHost"); !strings.EqualFold(home, host) {
		if hops > 0 {
			return 451
		}
		return w.lmtp(home, account, msg, hops+1)
	}
	if s.daemon.locked[account] {
		return 451 // mail.MAINTENANCE
	}
	id, ok := w.open(s, account)
	if !ok {
		return 554
	}
	if s.rows[id] == nil {
		s.rows[id] = map[string]string{}
	}
	if s.blobs[id] == nil {
		s.blobs[id] = map[string]string{}
	}
	s.rows[id][msg] = "mail"
	s.blobs[id][msg] = "blob"
	return 250
}

// daemon is a store's mailboxd as its admin service shows it.
type daemon struct {
	p    *Process
	host string
}

func (d daemon) store() *store { return d.p.w.stores[d.host] }

func (d daemon) Flush(ctx context.Context, account string) error {
	return d.p.effect("mailboxd.Flush "+d.host, func() error {
		delete(d.store().daemon.accounts, account)
		return nil
	})
}

func (d daemon) Lock(ctx context.Context, account string) error {
	return d.p.effect("mailboxd.Lock "+d.host, func() error {
		s := d.store()
		e, err := d.p.w.account(s, account, true)
		if err != nil {
			return err
		}
		if s.daemon.locked[account] {
			return nil
		}
		if id, ok := s.daemon.ids[account]; !ok || !s.daemon.loaded[id] { // only a mailbox that is not in memory is checked
			if !strings.EqualFold(e.Value("zimbraMailHost"), d.host) {
				return zimbra.ErrWrongHost
			}
			d.p.w.open(s, account)
		}
		s.daemon.locked[account] = true
		return nil
	})
}

func (d daemon) Unlock(ctx context.Context, account string) error {
	return d.p.effect("mailboxd.Unlock "+d.host, func() error {
		delete(d.store().daemon.locked, account)
		return nil
	})
}

func (d daemon) Locked(ctx context.Context, account string) (locked bool, err error) {
	err = d.p.effect("mailboxd.Locked "+d.host, func() error {
		locked = d.store().daemon.locked[account]
		if locked && d.host == Source && account == AliceID {
			d.p.w.proven = d.p.w.now
		}
		return nil
	})
	return locked, err
}

func (d daemon) Load(ctx context.Context, account string) (id mboxdb.MailboxID, err error) {
	err = d.p.effect("mailboxd.Load "+d.host, func() error {
		s := d.store()
		e, err := d.p.w.account(s, account, false)
		if err != nil {
			return err
		}
		if !strings.EqualFold(e.Value("zimbraMailHost"), d.host) {
			return zimbra.ErrWrongHost
		}
		if s.daemon.locked[account] {
			return fmt.Errorf("mail.MAINTENANCE")
		}
		var ok bool
		if id, ok = d.p.w.open(s, account); !ok {
			return fmt.Errorf("mail.NO_SUCH_MBOX")
		}
		return nil
	})
	return id, err
}
