package sqlrewrite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ReadRules reads rules from JSON, in the form of the tags of [Rules], to the end of r. It is stricter than package json, because a slip of
// the pen gives values to the wrong rows: a field that is not known or not in lower case, a name that stands twice in an object, text that is
// not UTF-8 and anything behind the rules are errors. What the rules say is left to [Compile].
func ReadRules(r io.Reader) (Rules, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return Rules{}, fmt.Errorf("sqlrewrite: read rules: %w", err)
	}
	var rules Rules
	if err := readRules(text, &rules); err != nil {
		return Rules{}, fmt.Errorf("sqlrewrite: rules: %w", err)
	}
	return rules, nil
}

func readRules(text []byte, rules *Rules) error {
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := once(dec, true); err != nil {
		return at(text, dec.InputOffset(), err)
	}
	end := dec.InputOffset()
	if _, err := dec.Token(); err != io.EOF {
		return at(text, end, errors.New("something behind the rules"))
	}
	dec = json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(rules); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return at(text, wrong.Offset, fmt.Errorf("%q cannot be a %s", wrong.Field, wrong.Value))
		}
		return err
	}
	return nil
}

// at says in which line an error is.
func at(text []byte, offset int64, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(offset, int64(len(text)))], []byte{'\n'}), err)
}

// once reads one value and demands that no object in it has a name twice. fields says that the names are those of fields.
func once(dec *json.Decoder, fields bool) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for t == json.Delim('{') && dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		switch {
		case seen[name]:
			return fmt.Errorf("%q stands twice", name)
		case fields && name != strings.ToLower(name):
			return fmt.Errorf("unknown field %q", name)
		}
		seen[name] = true
		if err := once(dec, fields && name != "map" && name != "databases" && name != "columns"); err != nil {
			return err
		}
	}
	for t == json.Delim('[') && dec.More() {
		if err := once(dec, fields); err != nil {
			return err
		}
	}
	if _, open := t.(json.Delim); open {
		_, err = dec.Token()
	}
	return err
}
