# The library's own test, run by `rebuild` in a container of the image: exit code 0 if all hold.
function same(got, want) {
    if (got == want) { held++; return }
    print "got `" got "`, want `" want "`"
    failed = 1
}

BEGIN {
    same(decoded("a%20b+c"), "a b c")
    same(decoded("100%"), "100%")
    same(decoded("%zz%4"), "%zz%4")
    same(decoded("%3Cb%3e"), "<b>")
    same(html("<a href=\"x\">&amp;</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;amp;&lt;/a&gt;")
    ENVIRON["QUERY_STRING"] = "a=1&part=M3%20bolt&b"
    same(param("part"), "M3 bolt")
    same(param("b"), "")
    if (!failed) print held " checks hold"
    exit failed
}
