# What a CGI program in awk needs: its parameters, decoded, and text made safe for HTML.

# The parameter of that name in the query string, or the empty string.
function param(name,    pairs, count, i, at) {
    count = split(ENVIRON["QUERY_STRING"], pairs, "&")
    for (i = 1; i <= count; i++) {
        at = index(pairs[i], "=")
        if (at && decoded(substr(pairs[i], 1, at - 1)) == name)
            return decoded(substr(pairs[i], at + 1))
    }
    return ""
}

# Undoes %XX and +. A % that two hexadecimal digits do not follow stays as it is.
function decoded(text,    out, at, high, low) {
    gsub(/\+/, " ", text)
    out = ""
    while ((at = index(text, "%")) > 0) {
        high = index("0123456789abcdef", tolower(substr(text, at + 1, 1))) - 1
        low = index("0123456789abcdef", tolower(substr(text, at + 2, 1))) - 1
        if (length(text) < at + 2 || high < 0 || low < 0 || high + low == 0) {
            out = out substr(text, 1, at)
            text = substr(text, at + 1)
        } else {
            out = out substr(text, 1, at - 1) sprintf("%c", high * 16 + low)
            text = substr(text, at + 3)
        }
    }
    return out text
}

function html(text) {
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    gsub(/"/, "\\&quot;", text)
    return text
}

function header(title) {
    print "Content-Type: text/html; charset=utf-8\r\n\r"
    print "<!doctype html><meta charset=\"utf-8\"><title>" html(title) "</title>"
    print "<link rel=\"stylesheet\" href=\"/style.css\"><h1>" html(title) "</h1>"
}
