package mboxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
)

// RestoreOptions say how the mailbox of a dump becomes one of this server. Everything but Volumes and Progress is required.
type RestoreOptions struct {
	// Claim is the mover's hold on the account on this server. Every transaction that writes compares it.
	Claim Claim
	// Rewrite maps in the dump's text what is different on this server, as CopyOptions.Rewrite does: from what CheckDump says to what Reserve
	// returned. It is called more than once, each time with another part of the dump, and again with one that is begun anew.
	Rewrite func(ctx context.Context, dst io.Writer, src io.Reader) error
	// Volumes maps the blob volumes that the dump names to this server's, as Rewrite does.
	Volumes map[VolumeID]VolumeID
	// IndexVolume is this server's volume for the mailbox's search index.
	IndexVolume VolumeID
	// Address is the account's address today. It becomes the comment of the mailbox row, and a deleted_account row of that address goes.
	Address string
	// Progress is called now and then with rows of the group, from one goroutine at a time. It must return at once.
	Progress func(done, total int64)
}

// Restored is what Restore wrote, and the proof that it lies in the database as the dump has it.
type Restored struct {
	Summary
	Proofs []TableProof `json:"proofs"`
}

// Restore makes the mailbox of a dump a mailbox of this server, under the id that Reserve returned for the same account and under its Claim.
// It reads the dump from where r stands, several times. First to its end, as CheckDump does: a dump that is cut short or was changed by
// a single byte is refused before anything is written. So is one of another db.version or time zone, with an *OriginError, and one whose tables
// are not those of this server, with a *SchemaError. Then it removes what lies under the id, and writes the group's rows as Load does, where nothing
// can see them. Then it compares the digests of the dump's rows, with the locators mapped, with those of what lies in the tables, so that neither
// Rewrite nor the server is trusted. Last, in one transaction, it writes the rows of zimbra, the mailbox row behind them, with the columns set that
// Publish sets, and compares those; and it forces the server's log to disk.
//
// Equal columns do not make up for another db.version: some upgrades give every mailbox rows and change no column, and no later one gives them
// again. The account has a mailbox from there on. Its blobs are not in the dump: bring them first, and keep the directory and mailboxd from the
// account until Restore has returned.
//
// Restore may be repeated after any error and any kill. Where a connection is lost it does that itself, as Load and Publish do. If the mailbox is there
// already, it is compared with the dump: equal is no error, and nothing is written but the log; anything else is ErrPublished. ErrExists says that
// the account has a mailbox under another id, or another account has this one; a *DumpError that the dump is another account's, or that what came
// out of Rewrite must not be loaded; a *MismatchError what lies in the tables and is not as in the dump. What was written before an error stays,
// unseen, for the next Restore or for Remove.
func (d *DB) Restore(ctx context.Context, r io.ReadSeeker, to Mailbox, opts *RestoreOptions) (Restored, error) {
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	return d.restore(ctx, to, opts, func() (io.ReadCloser, error) {
		_, err := r.Seek(start, io.SeekStart)
		return io.NopCloser(r), err
	})
}

func (d *DB) restore(ctx context.Context, to Mailbox, opts *RestoreOptions, open func() (io.ReadCloser, error)) (Restored, error) {
	if opts == nil {
		opts = &RestoreOptions{}
	}
	copyOpts := CopyOptions{Claim: opts.Claim, Rewrite: opts.Rewrite, Volumes: opts.Volumes, IndexVolume: opts.IndexVolume,
		Address: opts.Address, Progress: opts.Progress}
	bad := copyOpts.mistakes("restore", to)
	if to.ID == 0 || to.Group < 1 {
		bad = append(bad, errors.New("mboxdb: restore: the mailbox has no id or no group"))
	}
	if err := errors.Join(bad...); err != nil {
		return Restored{}, err
	}
	r := &restore{Copy: &Copy{dst: d, to: to, opt: copyOpts, sizes: usual}, open: open, witness: newWitness(opts.Volumes)}
	r.Copy.dump = func(ctx context.Context, w io.Writer, want func(Table) bool) error {
		info, err := r.read(ctx, w, want, nil)
		if err == nil && info.sha256 != r.info.sha256 {
			err = &DumpError{Offset: -1, Msg: "another one than the one that was checked"}
		}
		return err
	}
	res, err := r.run(ctx)
	if err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	return res, nil
}

// A restore is one run of Restore: a copy whose source is a dump.
type restore struct {
	*Copy
	open    func() (io.ReadCloser, error)
	info    DumpInfo
	tables  []Table  // this server's
	witness *witness // of the dump
	up      uptime   // of this server
	sum     Restored
}

func (r *restore) read(ctx context.Context, w io.Writer, want func(Table) bool, rows *witness) (DumpInfo, error) {
	f, err := r.open()
	if err != nil {
		return DumpInfo{}, err
	}
	defer f.Close()
	return checkDump(ctx, f, w, want, rows)
}

func (r *restore) run(ctx context.Context) (Restored, error) {
	var err error
	if r.info, err = r.read(ctx, nil, nil, r.witness); err != nil {
		return Restored{}, err
	}
	if !strings.EqualFold(r.info.Mailbox.AccountID, r.to.AccountID) {
		return Restored{}, &DumpError{Offset: -1, Msg: fmt.Sprintf("of account %s, not of %s", r.info.Mailbox.AccountID, r.to.AccountID)}
	}
	server, err := r.dst.Server(ctx)
	if err != nil {
		return Restored{}, err
	}
	if server.DBVersion != r.info.Server.DBVersion || server.TimeZone != r.info.Server.TimeZone {
		return Restored{}, &OriginError{Dump: r.info.Server, Server: server}
	}
	all, err := r.dst.Tables(ctx, r.to.Group)
	if err != nil {
		return Restored{}, err
	}
	r.tables = moved(all)
	if diff := Differences(r.info.Schema, schemaOf(r.tables)); len(diff) > 0 {
		return Restored{}, &SchemaError{Differences: diff}
	}
	nullableAs(r.tables, r.info.tables)
	r.sum.Tables = map[string]int64{}
	published, err := r.stands(ctx)
	switch {
	case err != nil:
		return Restored{}, err
	case published:
		err = r.already(ctx)
	default:
		if err = r.group(ctx); err == nil {
			err = r.publish(ctx)
		}
	}
	return r.sum, err
}

// stands says whether the mailbox is there already, if the claim stands and the volumes exist.
func (r *restore) stands(ctx context.Context) (published bool, err error) {
	if err := r.settled(ctx); err != nil {
		return false, err
	}
	err = r.dst.writing(ctx, func(s *session) error {
		if err := r.up.goesOn(ctx, s); err != nil {
			return err
		}
		return s.inTx(ctx, func(tx *sql.Tx) error {
			if published, err = r.guard(ctx, tx); err != nil {
				return err
			}
			return r.checkVolumes(ctx, tx)
		})
	})
	return published, err
}

// group writes and proves the rows of the group.
func (r *restore) group(ctx context.Context) error {
	var total int64
	for _, t := range only(r.info.tables, Table.inGroup) {
		total += r.info.Tables[t.String()]
	}
	sum, err := r.fill(ctx, r.tables, total)
	r.add(sum)
	if err != nil {
		return err
	}
	return r.dst.reading(ctx, func(s *session) error {
		strays, err := r.straysIn(ctx, s)
		if err != nil {
			return err
		}
		return r.compare(ctx, s, only(r.tables, Table.inGroup), &MismatchError{Strays: strays})
	})
}

func (r *restore) add(sum Summary) {
	r.sum.Rows += sum.Rows
	r.sum.Bytes += sum.Bytes
	for t, n := range sum.Tables {
		r.sum.Tables[t] = n
	}
}

// compare proves tables by what the witness saw in the dump. To m it adds what differs, and returns it if that is anything.
func (r *restore) compare(ctx context.Context, q querier, tables []Table, m *MismatchError) error {
	var proofs []TableProof
	for _, t := range tables {
		var skip []string
		if t.isMailbox() {
			skip = meant
		}
		is, err := r.dest(q).digest(ctx, t, skip)
		if err != nil {
			return err
		}
		if want := r.witness.digests[t.String()]; is != want {
			m.Tables = append(m.Tables, TableMismatch{Table: t.String(), Source: want.rows, Dest: is.rows})
			continue
		}
		proofs = append(proofs, TableProof{Table: t.String(), Rows: is.rows, Digest: is.String()})
	}
	if len(m.Tables)+len(m.Strays) > 0 {
		return m
	}
	r.sum.Proofs = append(r.sum.Proofs, proofs...)
	return nil
}

// publish writes and proves the rows of zimbra.
func (r *restore) publish(ctx context.Context) error {
	tables, proofs := only(r.tables, Table.inZimbra), len(r.sum.Proofs)
	var sum Summary
	var tried mailboxRow // meant by an attempt that went as far as its commit; nil: none did
	err := r.dst.writing(ctx, func(s *session) error {
		if err := r.up.goesOn(ctx, s); err != nil {
			return err
		}
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			if err := r.alone(ctx, tx); err != nil {
				return err
			}
			published, err := r.guard(ctx, tx)
			switch {
			case err != nil:
				return err
			case published && tried != nil:
				return r.committed(ctx, tx, tables, tried)
			case published:
				return fmt.Errorf("mailbox %d: %w", r.to.ID, ErrPublished)
			}
			r.sum.Proofs = r.sum.Proofs[:proofs]
			if err := r.checkVolumes(ctx, tx); err != nil {
				return err
			}
			if sum, err = r.writeZimbra(ctx, tx, tables); err != nil {
				return err
			}
			row, err := readMailboxRow(ctx, tx, tables, r.to.ID)
			if err != nil {
				return err
			}
			if row == nil || !strings.EqualFold(row["account_id"].String, r.to.AccountID) {
				return &DumpError{Offset: -1, Table: "zimbra.mailbox", Msg: "no row of account " + r.to.AccountID}
			}
			if err := r.mean(ctx, tx, r.tables, row); err != nil {
				return err
			}
			if err := r.intend(ctx, tx, row); err != nil {
				return err
			}
			if err := r.removeDeletedAccount(ctx, tx); err != nil {
				return err
			}
			differs, err := r.compareMailbox(ctx, tx, tables, row)
			if err != nil {
				return err
			}
			m := &MismatchError{}
			if len(differs.Keys) > 0 {
				differs.Source, differs.Dest = 1, 1
				m.Tables = append(m.Tables, differs)
			}
			if err := r.compare(ctx, tx, tables, m); err != nil {
				return err
			}
			tried = row
			return nil
		})
		if err != nil {
			return err
		}
		return force(ctx, s, r.opt.Claim.AccountID)
	})
	r.add(sum)
	return err
}

// already compares a mailbox that is there with the dump: a Restore whose answer was lost.
func (r *restore) already(ctx context.Context) error {
	r.add(r.info.Summary)
	return r.dst.writing(ctx, func(s *session) error {
		r.sum.Proofs = nil
		err := r.compare(ctx, s, r.tables, &MismatchError{})
		var differs *MismatchError
		if errors.As(err, &differs) {
			return fmt.Errorf("mailbox %d: %w: %w", r.to.ID, ErrPublished, err)
		}
		if err != nil {
			return err
		}
		return force(ctx, s, r.opt.Claim.AccountID)
	})
}
