package ssh

import "strings"

// quote writes an argument list as one text that the shells of logins read as just
// that list: an exec request is one string, and the login's shell takes it apart.
// It is the single quotes of POSIX; but \, ! and ' itself stand outside of them,
// behind a backslash, for within quotes fish has the first for its own, and csh the
// second.
func quote(argv []string) string {
	var b strings.Builder
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quoteOne(arg))
	}
	return b.String()
}

func quoteOne(arg string) string {
	if arg == "" {
		return "''"
	}
	var b strings.Builder
	for arg != "" {
		plain := strings.IndexAny(arg, `\!'`)
		switch {
		case plain < 0:
			plain = len(arg)
			fallthrough
		case plain > 0:
			b.WriteString("'" + arg[:plain] + "'")
		default:
			plain = 1
			b.WriteString(`\` + arg[:1])
		}
		arg = arg[plain:]
	}
	return b.String()
}

// told is a list that a shell which reads otherwise takes apart otherwise.
var told = []string{
	"a b", "", "'", `"`, `\`, `\\`, `\'`, "$HOME", "`id`", "$(id)", "!", "!!", "*", "~", "#", "-n", "a\nb", "\t", "^a^b", "{a,b}", ";", "&", "|", "<", ">", "(", ")", "é", `it's \n`,
}
