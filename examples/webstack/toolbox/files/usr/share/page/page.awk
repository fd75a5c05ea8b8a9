function safe(text) {
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}

# Ends the block that is open and begins another; an empty name begins none.
function block(name) {
    if (open == name) return
    if (open) print "</" open ">"
    if (name) print "<" name ">"
    open = name
}

BEGIN {
    print "<!doctype html><meta charset=\"utf-8\"><link rel=\"stylesheet\" href=\"/style.css\">"
}
/^# /    { block(""); title = safe(substr($0, 3)); print "<title>" title "</title><h1>" title "</h1>"; next }
/^## /   { block(""); print "<h2>" safe(substr($0, 4)) "</h2>"; next }
/^- /    { block("ul"); print "<li>" safe(substr($0, 3)); next }
/^    /  { block("pre"); print safe(substr($0, 5)); next }
/^ *$/   { block(""); next }
         { block("p"); print safe($0) }
END      { block("") }
