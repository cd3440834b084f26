package zimbra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/mboxdb"
)

// Survey implements Surveyor. It opens read-only sessions and lists files.
func (m *mailstore) Survey(ctx context.Context, r SurveyRequest) Survey {
	v := &survey{m: m, req: r}
	v.configuration(ctx)
	v.db = m.database(v.Groups, r.Tables)
	if v.server(ctx) {
		v.volumes(ctx)
		v.schema(ctx)
	}
	if r.Content && v.Mailbox != nil && len(v.Problems) == 0 {
		v.content(ctx)
	}
	return v.Survey
}

// A survey is one look at a mailstore.
type survey struct {
	Survey
	m   *mailstore
	req SurveyRequest
	db  *mboxdb.DB
}

// add keeps a problem, once: the same broken connection is met by many questions.
func (v *survey) add(p Problem) {
	if !slices.ContainsFunc(v.Problems, func(q Problem) bool { return q.Code == p.Code && q.Object == p.Object }) {
		v.Problems = append(v.Problems, p)
	}
}

// failed turns an error into a problem. What the store itself answered has the code other; the rest is a matter of reaching it.
func (v *survey) failed(err error, other, object, hint string) {
	code := ""
	if v.m.Code != nil {
		code = v.m.Code(err)
	}
	var exit interface{ ExitCode() int }
	var sqlErr *mysql.MySQLError
	var config *LocalconfigError
	switch {
	case code == CodeHostKey:
		hint = "check the host's fingerprint, then add its key to known_hosts_file"
	case code == CodeLogin:
		hint = "check user, key and password of this store in the configuration"
	case code != "":
	case errors.As(err, &exit), errors.As(err, &sqlErr), errors.As(err, &config), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission),
		isMboxdb(err):
		v.add(Problem{Code: other, Object: object, Message: err.Error(), Hint: hint})
		return
	default:
		code, hint = CodeUnreachable, "check that the store is up and that its addresses in the configuration are right"
	}
	v.add(Problem{Code: code, Object: v.m.Host, Message: err.Error(), Hint: hint})
}

// isMboxdb says whether mboxdb reached the server and did not like what it found.
func isMboxdb(err error) bool {
	var schema *mboxdb.SchemaError
	var locator *mboxdb.LocatorError
	return errors.Is(err, mboxdb.ErrNoGroup) || errors.As(err, &schema) || errors.As(err, &locator)
}

// configuration reads the two files that decide where rows go.
func (v *survey) configuration(ctx context.Context) {
	b, err := v.m.readFile(ctx, v.m.Localconfig)
	var c Localconfig
	if err == nil {
		c, err = ReadLocalconfig(bytes.NewReader(b))
	}
	if err != nil {
		v.failed(err, CodeLocalconfig, v.m.Host+" "+v.m.Localconfig, "set localconfig_file to the store's localconfig.xml, and let the ssh user read it")
	}
	v.Groups, v.Checkpoints = c.Groups, c.CheckpointFrequency
	if _, err := v.m.readFile(ctx, v.m.CreateDatabase); err != nil {
		v.failed(err, CodeCreateScript, v.m.Host+" "+v.m.CreateDatabase, "set create_database_file to the store's create_database.sql, and let the ssh user read it")
	}
}

func (v *survey) sql(err error) bool {
	if err != nil {
		v.failed(err, CodeDatabase, v.m.Host, "check the database server's log and the rights of the mysql user")
	}
	return err == nil
}

// server reads what is about the database server and the account; false when that cannot be read.
func (v *survey) server(ctx context.Context) bool {
	var err error
	if v.Server, err = v.db.Server(ctx); !v.sql(err) {
		return false
	}
	m, err := v.db.Find(ctx, v.req.AccountID)
	switch {
	case err == nil:
		v.Mailbox = &m
	case !errors.Is(err, mboxdb.ErrNotFound):
		return v.sql(err)
	}
	h, err := v.db.Holder(ctx, v.req.AccountID)
	v.Holder = Holder{Move: h.Move, Fence: h.Fence, Open: h.Open}
	return v.sql(err)
}

// volumes reads them, and how much room each has.
func (v *survey) volumes(ctx context.Context) {
	var err error
	if v.Volumes, err = v.m.volumes(ctx, v.db, v.req.BlobDir); !v.sql(err) {
		return
	}
	if v.Current, err = v.db.CurrentVolumes(ctx); !v.sql(err) {
		return
	}
	v.Free, v.FileSystems, v.Reserve = map[mboxdb.VolumeID]int64{}, map[mboxdb.VolumeID]uint64{}, max(v.m.Reserve, 0)
	for _, vol := range v.Volumes {
		if !vol.Files() {
			continue
		}
		tree := v.m.Files.Tree(vol.Path)
		free, err := filesync.Free(ctx, tree)
		if errors.Is(err, fs.ErrNotExist) && v.req.BlobDir != "" { // which nobody needed yet
			tree = v.m.Files.Tree(path.Dir(vol.Path))
			free, err = filesync.Free(ctx, tree)
		}
		var top filesync.Entry
		if err == nil {
			top, err = filesync.Stat(ctx, tree, ".")
		}
		var exit interface{ ExitCode() int }
		switch {
		case err == nil:
			v.Free[vol.ID], v.FileSystems[vol.ID] = free, top.Device
		case errors.As(err, &exit), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			// Whether the move needs this volume is for the plan to say.
		default:
			v.failed(err, CodeFiles, v.m.Host, "check the store's disks")
		}
	}
}

// schema reads what the rows look like: in the mailbox's own group, else in any that there is.
func (v *survey) schema(ctx context.Context) {
	group := 0
	if v.Mailbox != nil {
		group = v.Mailbox.Group
	} else if groups, err := v.db.Groups(ctx); !v.sql(err) {
		return
	} else if len(groups) > 0 {
		group = groups[0]
	}
	s, err := v.db.Schema(ctx, group)
	var unknown *mboxdb.UnknownTableError
	if errors.As(err, &unknown) {
		v.Unknown = unknown.Tables
		return
	}
	if v.sql(err) {
		v.Schema = s
	}
}

// content counts what is to be carried, and looks for every blob.
func (v *survey) content(ctx context.Context) {
	if len(v.Unknown) > 0 {
		return
	}
	var err error
	if v.Rows, err = v.db.Count(ctx, *v.Mailbox); !v.sql(err) {
		return
	}
	if v.Locators, err = v.db.Locators(ctx, *v.Mailbox); !v.sql(err) {
		return
	}
	if err := v.blobs(ctx); err != nil {
		var locator *mboxdb.LocatorError
		if errors.As(err, &locator) { // the plan names it by Locators
			return
		}
		v.failed(err, CodeFiles, v.m.Host, "check that the ssh user can read the volumes")
	}
}

func (v *survey) blobs(ctx context.Context) error {
	vols := byID(v.Volumes)
	type file struct {
		size  int64
		inode uint64 // 0: it has no other name
	}
	have := map[string]file{} // by path
	for _, vol := range v.Volumes {
		if _, ok := v.Free[vol.ID]; !ok {
			continue
		}
		tree, ok, err := v.m.mailboxTree(ctx, vol, v.Mailbox.ID)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		for e, err := range filesync.List(ctx, tree, nil) {
			if err != nil {
				return err
			}
			if e.IsDir() {
				continue
			}
			v.Bytes += e.Size
			if vol.Type == mboxdb.Index {
				if vol.ID == v.Mailbox.IndexVolume && strings.HasPrefix(e.Name, "index/") {
					v.IndexBytes += onDisk(e.Size)
				}
				continue
			}
			f := file{size: e.Size}
			if e.Links > 1 {
				f.inode = e.Inode
			}
			have[path.Join(tree.String(), e.Name)] = f
		}
	}
	v.Need = map[mboxdb.VolumeID]int64{}
	type inode struct {
		volume mboxdb.VolumeID
		inode  uint64
	}
	counted := map[inode]bool{}
	twice := map[string]bool{} // a file that several rows name: the one before, as rows of an item come together
	var item uint32
	var missing []string
	err := v.demanded(ctx, vols, func(b mboxdb.Blob, name string) {
		v.Blobs++
		if b.Item != item {
			item = b.Item
			clear(twice)
		}
		f, ok := have[name]
		in := inode{b.Volume, f.inode}
		switch {
		case !ok:
			missing = append(missing, name)
		case twice[name] || f.inode != 0 && counted[in]:
		default:
			v.Need[b.Volume] += onDisk(f.size)
		}
		twice[name] = true
		if f.inode != 0 {
			counted[in] = true
		}
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	// A live user deletes: what is missing now, and what a row demands after that, is missing.
	gone := map[string]struct{}{}
	for _, name := range missing {
		dir := path.Dir(path.Dir(path.Dir(name)))
		ok, err := exists(ctx, v.m.Files.Tree(dir), strings.TrimPrefix(name, dir+"/"))
		if err != nil {
			return err
		}
		if !ok {
			gone[name] = struct{}{}
		}
	}
	err = v.demanded(ctx, vols, func(_ mboxdb.Blob, name string) {
		if _, ok := gone[name]; ok {
			delete(gone, name)
			v.Missing = append(v.Missing, v.m.Host+":"+name)
		}
	})
	slices.Sort(v.Missing)
	return err
}

// demanded calls f with every blob, and its path, that a row names, on the volumes that there are.
func (v *survey) demanded(ctx context.Context, vols map[mboxdb.VolumeID]mboxdb.Volume, f func(b mboxdb.Blob, path string)) error {
	for b, err := range v.db.Blobs(ctx, *v.Mailbox) {
		if err != nil {
			return err
		}
		if _, ok := v.Free[b.Volume]; ok {
			vol := vols[b.Volume]
			f(b, path.Join(vol.Path, vol.MailboxDir(v.Mailbox.ID), vol.BlobName(b.Item, b.ModContent)))
		}
	}
	return nil
}

// exists says whether a tree has a file or directory of that name. A tree without a root has none.
func exists(ctx context.Context, t filesync.Tree, name string) (bool, error) {
	_, err := filesync.Stat(ctx, t, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", path.Join(t.String(), name), err)
	}
	return true, nil
}
