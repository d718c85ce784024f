//! `status --html`: the state of a ledger as one page, for a browser without a server. A person's tasks stand first.
//!
//! The page has no script and fetches nothing, and its own policy allows a browser no more. So its style stands in one
//! element, and no element has a style of its own.

use std::fmt::{Display, Write as _};

use takings_ledger::office::Alarm;
use takings_ledger::policy::State;
use takings_ledger::store::Kind;

use crate::place::ACCOUNT;
use crate::say::{moment, number, span, why};
use crate::status::{Books, LATE, MINUTE, Picture, amount_of, level_of_pause};

const STYLE: &str = include_str!("page.css");

/// The digest of `page.css`, which a test compares. A server that sets a policy of its own must allow it too.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
                      style-src 'sha256-jq13Uzm5eebzz5MXKcT4VVINGcJEtkc+hqomzfJHHZA='";

/// A matter that needs a person.
struct Task {
    /// As Nagios counts: 1 is a warning, 2 is critical.
    level: u8,
    title: String,
    /// The account, the money, since when: each a piece of the page.
    facts: Vec<String>,
    /// A sentence about the matter.
    advice: String,
    /// Each command with a word for its purpose.
    commands: Vec<(&'static str, String)>,
    /// Other endings of the last command, as HTML.
    otherwise: String,
}

/// Characters that nobody sees, or that turn others round.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text as HTML. Hidden characters are written as their number.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character if is_hidden(character) => out.extend(character.escape_unicode()),
            character => out.push(character),
        }
    }
    out
}

/// A word of a shell's command line. A reference is a shop's text, and a person copies the line. Hidden characters need
/// a shell that knows `$'…'`, such as bash.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_./:@%+=,-".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if !word.chars().any(is_hidden) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut out = String::from("$'");
    for character in word.chars() {
        match character {
            '\'' | '\\' => out.extend(['\\', character]),
            character if is_hidden(character) => {
                // Writing to a String cannot fail, here and below.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out + "'"
}

/// A command as HTML. Its words stay whole where there is room.
fn command(text: &str) -> String {
    let words: Vec<String> = text.split(' ').map(|word| format!("<span>{}</span>", escaped(word))).collect();
    format!("<code>{}</code>", words.join(" "))
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A moment with the time since then.
fn since(at: i64, now: i64) -> String {
    let machine = moment(at);
    let person = machine.get(..16).unwrap_or(&machine).replace('T', " ");
    format!("<time datetime=\"{machine}\">{person} UTC</time> <span>({} ago)</span>", span(now - at))
}

fn money(amount: impl Display) -> String {
    format!("{} minor units", number(amount))
}

/// The flag that names the account, where that is not the default one.
fn of_account(name: &str) -> String {
    if name == ACCOUNT { String::new() } else { format!(" --account {}", quoted(name)) }
}

fn task_of_alarm(alarm: &Alarm, account: &str, now: i64) -> Task {
    let noun = |count| match alarm.kind {
        Kind::Capture => plural(count, "capture", "captures"),
        Kind::Refund => plural(count, "refund", "refunds"),
    };
    let rows = noun(alarm.rows);
    let (level, title) = match alarm.state {
        State::Rejected => (2, format!("{rows} refused by Klarna")),
        State::Unclear => (1, format!("{rows} without a clear answer for hours")),
        _ => (2, format!("{rows} stuck")),
    };
    let reason = alarm.why.as_deref().map(why).unwrap_or_default();
    let code = alarm.error_code.as_deref().map(|code| format!(": {code}")).unwrap_or_default();
    let (flag, word) = match alarm.kind {
        Kind::Capture => ("", "captured"),
        Kind::Refund => (" --refund", "refunded"),
    };
    let of = of_account(account);
    let row = format!("{} {}", quoted(&alarm.order_id), quoted(&alarm.reference));
    let settle = format!("takings settle{flag}{of} {row}");
    let mut commands = vec![("Read all of it", format!("takings show{of} {row}"))];
    if alarm.rows > 1 {
        commands.push(("List all of these", format!("takings list --needs-a-person{flag}{of}")));
    }
    commands.push(("Settle it", format!("{settle} --by NAME --{word} ID")));
    let otherwise = format!(
        "if Klarna has it; <code>--not-{word}</code> if not, and it shall not; <code>--send-again</code> if a worker shall \
         look, and send it if it is not there"
    );
    let go_on = if alarm.state == State::Unclear { " Workers go on asking by themselves." } else { "" };
    Task {
        level,
        title: escaped(&format!("{title}{code}")),
        facts: vec![
            format!("account <bdi>{}</bdi>", escaped(account)),
            format!("<b>{}</b>", money(alarm.amount)),
            format!("since {}", since(alarm.since, now)),
        ],
        advice: format!(
            "Why: {}. Look at the order in Klarna's portal, and then say how it stands.{go_on}",
            escaped(reason)
        ),
        commands,
        otherwise,
    }
}

fn task_of_pause(one: &Books, now: i64) -> Option<Task> {
    let account = &one.account;
    let word = account.paused_why.as_deref().filter(|_| one.is_paused(now))?;
    let advice = match word {
        "credentials" => "Mend the worker's credentials and start it again; then end the pause.",
        "not_klarna" => "Look at the address, a proxy or a firewall; then end the pause.",
        "clock" => "Set the clocks right; then end the pause.",
        "person" => "Nothing is sent until somebody ends the pause.",
        "no_answer" | "limited" => "Workers try again by themselves.",
        _ => "See what is wrong; then end the pause.",
    };
    let mut commands = vec![("End the pause", format!("takings resume {}", quoted(&account.account)))];
    if level_of_pause(word) == 2 {
        commands.insert(0, ("See what is wrong", "takings doctor".to_owned()));
    }
    let waiting = one.rows(State::Queued) + one.rows(State::Unclear);
    let mut facts = vec![
        format!("{} waiting", plural(waiting, "row", "rows")),
        format!("<b>{}</b>", money(one.amount(&[State::Queued, State::Unclear]))),
    ];
    facts.extend(account.alert_at.map(|at| format!("since {}", since(at, now))));
    Some(Task {
        level: level_of_pause(word),
        title: format!("Account <bdi>{}</bdi> is paused", escaped(&account.account)),
        facts,
        advice: format!("Why: {}. {advice}", escaped(why(word))),
        commands,
        otherwise: String::new(),
    })
}

fn tasks(picture: &Picture) -> Vec<Task> {
    let now = picture.now;
    let mut tasks = Vec::new();
    for one in &picture.accounts {
        let name = one.account.account.as_str();
        tasks.extend(task_of_pause(one, now));
        let late = one.late(now);
        if late > LATE && !one.is_paused(now) {
            let worker = if picture.has_worker { "The worker is too slow, or stands." } else { "No worker runs." };
            tasks.push(Task {
                level: 2,
                title: format!("Account <bdi>{}</bdi>: rows are due and nobody sends them", escaped(name)),
                facts: vec![
                    plural(one.rows(State::Queued) + one.rows(State::Unclear), "row open", "rows open"),
                    format!("<b>{}</b>", money(one.amount(&[State::Queued, State::Unclear]))),
                    format!("due since {}", since(now - late, now)),
                ],
                advice: format!("{worker} Start it, or read its log."),
                commands: vec![
                    ("As a service", "systemctl restart takings-worker".to_owned()),
                    ("By hand", "takings worker".to_owned()),
                ],
                otherwise: String::new(),
            });
        }
        let ahead = one.clock_went_back(now);
        if ahead > 5 * MINUTE {
            tasks.push(Task {
                level: 2,
                title: format!("Account <bdi>{}</bdi>: the clock went back by {}", escaped(name), span(ahead)),
                facts: Vec::new(),
                advice: "Nothing is sent meanwhile. Set the clock right, and then say so.".to_owned(),
                commands: vec![("The clock is right", format!("takings resume {}", quoted(name)))],
                otherwise: String::new(),
            });
        }
        tasks.extend(one.alarms.iter().map(|alarm| task_of_alarm(alarm, name, now)));
    }
    // A matter of a whole account stands before one of rows. The sort is stable: else the order stays.
    tasks.sort_by_key(|task| (std::cmp::Reverse(task.level), !task.otherwise.is_empty()));
    tasks
}

/// The first line: what needs a person, in a few words.
fn verdict(picture: &Picture, tasks: &[Task]) -> String {
    let rows: u64 = picture.accounts.iter().flat_map(|one| &one.alarms).map(|alarm| alarm.rows).sum();
    let paused = picture.accounts.iter().filter(|one| one.is_paused(picture.now)).count() as u64;
    let mut words = Vec::new();
    if rows > 0 {
        words.push(plural(rows, "row needs a person", "rows need a person"));
    }
    if paused > 0 {
        words.push(plural(paused, "account is paused", "accounts are paused"));
    }
    let late = picture.accounts.iter().filter(|one| one.late(picture.now) > LATE && !one.is_paused(picture.now));
    match late.count() as u64 {
        0 => {}
        late => words.push(plural(late, "account is late", "accounts are late")),
    }
    if words.is_empty() && !tasks.is_empty() {
        words.push(plural(tasks.len() as u64, "thing needs a person", "things need a person"));
    }
    if words.is_empty() { "Nothing needs a person".to_owned() } else { words.join(", ") }
}

fn write_tasks(page: &mut String, tasks: &[Task], has_worker: bool) {
    page.push_str("<section aria-labelledby=\"person\">\n<h2 id=\"person\">Needs a person</h2>\n");
    if tasks.is_empty() {
        let next = if has_worker {
            "The worker goes on with what is open."
        } else {
            "No worker runs: rows wait until one does."
        };
        let _ = writeln!(page, "<p class=\"calm\">Nothing. {next}</p>");
    } else {
        page.push_str("<ol class=\"tasks\">\n");
    }
    for task in tasks {
        let (class, word) = if task.level > 1 { ("bad", "critical") } else { ("warn", "warning") };
        let _ = writeln!(
            page,
            "<li class=\"card {class}\"><h3>{} <span class=\"badge\">{word}</span></h3>\n<ul class=\"facts\">",
            task.title
        );
        for fact in &task.facts {
            let _ = writeln!(page, "<li>{fact}</li>");
        }
        let _ = writeln!(page, "</ul>\n<p>{}</p>\n<dl>", task.advice);
        for (what, text) in &task.commands {
            let _ = writeln!(page, "<dt>{what}</dt><dd>{}</dd>", command(text));
        }
        if !task.otherwise.is_empty() {
            let _ = writeln!(page, "<dd class=\"otherwise\">{}</dd>", task.otherwise);
        }
        page.push_str("</dl></li>\n");
    }
    page.push_str(if tasks.is_empty() { "</section>\n" } else { "</ol>\n</section>\n" });
}

fn write_sums(page: &mut String, picture: &Picture) {
    let now = picture.now;
    let all = picture.accounts.as_slice();
    let oldest = |state: State| match all.iter().filter_map(|one| one.oldest(&[state])).min() {
        Some(at) => format!("oldest {}", span(now - at)),
        None => "none waits".to_owned(),
    };
    let rows = |state: State| all.iter().map(|one| one.rows(state)).sum::<u64>();
    let lately = |kind: Kind| all.iter().map(|one| one.lately(kind)).sum::<u64>();
    page.push_str("<section aria-labelledby=\"sums\">\n<h2 id=\"sums\">All accounts</h2>\n<dl class=\"sums\">\n");
    for (name, count, more) in [
        ("Queued", rows(State::Queued), oldest(State::Queued)),
        ("Asked again", rows(State::Unclear), oldest(State::Unclear)),
        ("Captured today", lately(Kind::Capture), "since 00:00 UTC".to_owned()),
        ("Refunded today", lately(Kind::Refund), "since 00:00 UTC".to_owned()),
    ] {
        let _ = writeln!(
            page,
            "<div class=\"card\"><dt>{name}</dt><dd><b>{}</b> <small>{more}</small></dd></div>",
            number(count)
        );
    }
    let seen = all.iter().map(|one| one.account.seen_at).max().filter(|at| *at > 0 && *at <= now);
    let seen = match (seen, picture.has_worker) {
        (Some(at), _) => format!("last seen {} ago", span(now - at)),
        (None, true) => "seen now".to_owned(),
        (None, false) => "none was here yet".to_owned(),
    };
    let (class, word) = if picture.has_worker { ("good", "runs") } else { ("warn", "none runs") };
    let _ = writeln!(
        page,
        "<div class=\"card wide {class}\"><dt>Worker</dt><dd><b>{word}</b> <small>{seen}</small></dd></div>\n</dl>\n</section>"
    );
}

fn write_account(page: &mut String, one: &Books, now: i64) {
    let account = &one.account;
    let paused = account.paused_why.as_deref().filter(|_| one.is_paused(now));
    let (class, badge) = match paused {
        Some(word) if level_of_pause(word) > 1 => ("bad", "paused"),
        Some(_) => ("warn", "paused"),
        None if one.late(now) > LATE => ("bad", "late"),
        None if one.clock_went_back(now) > 5 * MINUTE => ("bad", "clock"),
        None => ("good", "healthy"),
    };
    let _ = writeln!(
        page,
        "<article class=\"card {class}\"><h3><bdi>{}</bdi> <span class=\"badge\">{badge}</span></h3>",
        escaped(&account.account)
    );
    let place = match (&account.base_url, &account.merchant) {
        (Some(url), Some(merchant)) => format!("<bdi>{}</bdi> at <bdi>{}</bdi>", escaped(merchant), escaped(url)),
        _ => "no worker was here yet".to_owned(),
    };
    let _ = writeln!(page, "<p class=\"place\">{place}</p>");
    if let Some(word) = paused {
        let until = match account.paused_until {
            i64::MAX => "until somebody resumes it".to_owned(),
            until => format!("tries again in {}", span(until - now + 999)),
        };
        let _ = writeln!(page, "<p>{}; {until}.</p>", escaped(why(word)));
    }
    if account.look_until > now {
        let _ = writeln!(
            page,
            "<p>New or restored: rows are looked for before they are sent, until <time>{}</time>.</p>",
            moment(account.look_until).get(..10).unwrap_or_default()
        );
    }
    let _ = writeln!(
        page,
        "<p class=\"rate\"><meter aria-label=\"Rate\" min=\"0\" max=\"{full}\" value=\"{rate}\"></meter> {rate:.0} of {full} \
         requests a second{}</p>",
        if account.rate < account.per_second { ", since Klarna asked for fewer" } else { "" },
        full = account.per_second,
        rate = account.rate,
    );
    write_table(page, one, now);
    page.push_str("</article>\n");
}

fn write_table(page: &mut String, one: &Books, now: i64) {
    let _ = writeln!(
        page,
        "<table><caption>Rows of {}</caption>\n<thead><tr><th scope=\"col\">State</th><th scope=\"col\">Captures{units}</th>\
         <th scope=\"col\">Refunds{units}</th></tr></thead>\n<tbody>",
        escaped(&one.account.account),
        units = " <small>rows, minor units</small>"
    );
    let mut row = |name: &str, cell: &dyn Fn(Kind) -> (u64, Vec<String>)| {
        let _ = write!(page, "<tr><th scope=\"row\">{name}</th>");
        for kind in Kind::ALL {
            let (count, small) = cell(kind);
            let zero = if count == 0 { " class=\"zero\"" } else { "" };
            let _ = write!(page, "<td{zero}>{}", number(count));
            for text in small.iter().filter(|_| count > 0) {
                let _ = write!(page, " <small>{text}</small>");
            }
            page.push_str("</td>");
        }
        page.push_str("</tr>\n");
    };
    for (name, state) in [
        ("Queued", State::Queued),
        ("Under way", State::Sending),
        ("Asked again", State::Unclear),
        ("Done", State::Done),
    ] {
        row(name, &|kind| {
            let Some(count) = one.counts.iter().find(|count| (count.kind, count.state) == (kind, state)) else {
                return (0, Vec::new());
            };
            let mut small = vec![number(count.amount)];
            if state != State::Done {
                small.push(format!("oldest {}", span(now - count.oldest)));
            }
            (count.rows, small)
        });
    }
    row("Done today", &|kind| (one.lately(kind), Vec::new()));
    row("Need a person", &|kind| {
        let alarms = || one.alarms.iter().filter(|alarm| alarm.kind == kind);
        let since = alarms().map(|alarm| alarm.since).min().map(|at| format!("oldest {}", span(now - at)));
        let mut small = vec![number(amount_of(alarms().map(|alarm| alarm.amount)))];
        small.extend(since);
        (alarms().map(|alarm| alarm.rows).sum(), small)
    });
    page.push_str("</tbody></table>\n");
}

/// The page. `refresh`: after how many seconds a browser reads it again; never if 0.
pub fn html(picture: &Picture, refresh: u32) -> String {
    let now = picture.now;
    let tasks = tasks(picture);
    let verdict = verdict(picture, &tasks);
    let class = match tasks.first().map(|task| task.level) {
        None => "good",
        Some(1) => "warn",
        Some(_) => "bad",
    };
    let again =
        if refresh > 0 { format!("<meta http-equiv=\"refresh\" content=\"{refresh}\">\n") } else { String::new() };
    let machine = moment(now);
    let person = machine.replace('T', " ").replace('Z', " UTC");
    let made = format!("<time datetime=\"{machine}\">{person}</time>");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<meta name=\"referrer\" content=\"no-referrer\">\n{again}\
         <title>{verdict} - takings</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header class=\"{class}\">\n<h1>{verdict}</h1>\n\
         <p>takings, ledger <bdi>{}</bdi>, as of {made}</p>\n</header>\n<main>\n",
        escaped(&picture.ledger)
    );
    write_tasks(&mut page, &tasks, picture.has_worker);
    write_sums(&mut page, picture);
    page.push_str(
        "<section aria-labelledby=\"accounts\">\n<h2 id=\"accounts\">Each account</h2>\n<div class=\"accounts\">\n",
    );
    for one in &picture.accounts {
        write_account(&mut page, one, now);
    }
    page.push_str("</div>\n</section>\n</main>\n<footer>\n");
    let _ = writeln!(
        page,
        "<p>Amounts are minor units, as Klarna counts: 60.00 EUR is 6,000. The ledger knows no currencies, so a sum may be \
         of several.</p>\n<p>Made at {made} by takings {}. A page that is older than it should be says that nobody makes it \
         any more.</p>\n</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION")
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_shop_is_markup_or_a_command() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
        assert_eq!(escaped("a\u{202e}b\u{7}\u{200b}é"), r"a\u{202e}b\u{7}\u{200b}é");
        assert_eq!((quoted("parcel-1"), quoted("a b"), quoted("")), ("parcel-1".into(), "'a b'".into(), "''".into()));
        assert_eq!(quoted("a'\\\u{202e}\n"), r"$'a\'\\\u202e\u000a'");
        assert_eq!(quoted("x'; rm -rf ~ #"), r"'x'\''; rm -rf ~ #'");
    }
}
