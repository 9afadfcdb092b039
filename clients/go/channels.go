package trunkline

import "strings"

const maxChannel = 255

// checkChannel returns an [InvalidChannel] that says what is wrong with a channel, or with a pattern, in which '*' stands for
// one token and a last '>' for one or more.
func checkChannel(channel string, isPattern bool) error {
	kind := "channel"
	if isPattern {
		kind = "pattern"
	}
	wrong := func(why string) error {
		shown := channel
		if len(shown) > maxChannel {
			shown = shown[:maxChannel]
		}
		return invalid(InvalidChannel, kind, shown, "%s %q: %s", kind, shown, why)
	}
	if channel == "" {
		return wrong("it is empty")
	}
	if len(channel) > maxChannel {
		return wrong("it has more than 255 characters")
	}
	tokens := strings.Split(channel, ":")
	for at, token := range tokens {
		if isPattern && (token == "*" || (token == ">" && at == len(tokens)-1)) {
			continue
		}
		if token == "" || strings.IndexFunc(token, isNoTokenLetter) >= 0 {
			return wrong("a token is letters, digits, '_', '.' and '-', and ':' stands between two")
		}
	}
	return nil
}

func isNoTokenLetter(letter rune) bool {
	return (letter < 'a' || letter > 'z') && (letter < 'A' || letter > 'Z') && (letter < '0' || letter > '9') &&
		letter != '_' && letter != '.' && letter != '-'
}
