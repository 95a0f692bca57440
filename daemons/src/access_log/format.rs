//! A format that `agent.toml` names: one of those that everybody knows, or the
//! text of Apache's `LogFormat` or nginx's `log_format`.

use super::clock::{Place, Unit};
use super::line;

const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
const COMBINED_IO: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %I %O"#;
const INGRESS: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name]"#;

/// Formats by name; `vhost_combined` is `combined` with a word in front.
const NAMED: [(&str, &str); 6] = [
    ("common", COMMON),
    ("combined", COMBINED),
    ("vhost_common", COMMON),
    ("vhost_combined", COMBINED),
    ("combinedio", COMBINED_IO),
    ("ingress-nginx", INGRESS),
];

/// What is known of a time in a format's text.
const TIMES: [(&str, Unit); 8] = [
    ("%D", Unit::Us),
    ("%{us}T", Unit::Us),
    ("%{ms}T", Unit::Ms),
    ("%{s}T", Unit::S),
    ("%T", Unit::S),
    ("$request_time", Unit::S),
    ("${request_time}", Unit::S),
    ("$upstream_response_time", Unit::S),
];

/// Where a format has its response time; `None`: it has none.
pub fn parse(text: &str) -> Result<Option<Place>, String> {
    let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
    let format = match named {
        Some(format) => format,
        None if text.contains(['%', '$']) => text,
        None => {
            let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "format = {text:?}: write one of {}, or the text of LogFormat or log_format",
                names.join(", ")
            ));
        }
    };
    // As it stands in Apache's configuration.
    let format = format.replace("\\\"", "\"");
    let behind = ["\"%r\"", "\"$request\""].iter().find_map(|r| format.split_once(r)).map(|s| s.1);
    let mut columns = line::columns(behind.unwrap_or("").as_bytes());
    let is = |column: Option<&[u8]>, of: &[&str]| {
        column.is_some_and(|c| of.iter().any(|name| name.as_bytes() == c))
    };
    let front = is(columns.next(), &["%>s", "%s", "%<s", "$status"])
        && is(columns.next(), &["%b", "%B", "%O", "$body_bytes_sent", "$bytes_sent"]);
    if !front {
        return Err(format!(
            "format = {text:?}: it has to have the request in quotes, the status, and the bytes \
             one after the other (\"%r\" %>s %b)"
        ));
    }
    let columns: Vec<&[u8]> = columns.collect();
    let time = |(wanted, unit): &(&str, Unit)| {
        // A name may stand before it: rt=$request_time.
        let is_it = |c: &&[u8]| {
            let value = c.iter().rposition(|b| *b == b'=').map_or(*c, |at| &c[at + 1..]);
            value == wanted.as_bytes()
        };
        Some(Place::new(columns.iter().position(is_it)?, *unit))
    };
    Ok(TIMES.iter().find_map(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_by_name_and_by_their_text() {
        let at = |column, unit| Ok(Some(Place::new(column, unit)));
        for (text, want) in [
            ("combined", Ok(None)),
            ("combinedio", Ok(None)),
            ("ingress-nginx", at(3, Unit::S)),
            (r#"%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i" %D"#, at(2, Unit::Us)),
            (r#"%v:%p %h %l %u %t \"%r\" %>s %b %I %O %{ms}T"#, at(2, Unit::Ms)),
            (
                r#"$remote_addr [$time_local] "$request" $status $bytes_sent "$http_user_agent" rt=$request_time"#,
                at(1, Unit::S),
            ),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        for text in ["combned", "%h %D \"%r\" %D %>s %b", "$remote_addr $request_time", ""] {
            assert!(parse(text).is_err_and(|e| e.starts_with("format = ")), "{text}");
        }
    }
}
