//! The page of `html`: whole in itself, and in a browser it sorts, zooms, filters and complains of
//! nothing.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;
use mremap_tests::need;
use mremap_trace::Outcome;
use tempfile::TempDir;

mod common;

/// Runs before anything of the page's own, and collects what goes wrong.
const BEFORE: &str = "<script>var wrong=[];addEventListener('error',e=>wrong.push(e.message),true);\
    console.error=console.warn=(...all)=>wrong.push(all.join(' '));\
    addEventListener('securitypolicyviolation',e=>wrong.push(e.blockedURI));</script>";

/// Uses the page as a person would, and leaves what it saw in the title, where `--dump-dom` shows
/// it.
const USE: &str = "<script>
const column=(table,name)=>[...document.querySelectorAll('#'+table+' th button')].find(b=>b.textContent===name);
const cells=(table,at)=>[...document.querySelectorAll('#'+table+' tbody tr')].filter(r=>!r.hidden).map(r=>r.cells[at].textContent);
const key=(k)=>time.dispatchEvent(new KeyboardEvent('keydown',{key:k,cancelable:true}));
const seen={};
column('event','event').click();seen.last=cells('event',0).slice(0,2);
column('event','event').click();seen.first=cells('event',0).slice(0,2);
seen.sorted=column('event','event').closest('th').getAttribute('aria-sort');
filter.value='efault';filter.dispatchEvent(new Event('input'));seen.filtered=cells('event',4);seen.shown=shown.textContent;
const whole=time.getAttribute('viewBox');key('+');seen.zoomed=time.getAttribute('viewBox')!==whole;
seen.range=range.textContent;key('0');seen.back=time.getAttribute('viewBox')===whole;
seen.focus=[...document.querySelectorAll('a,button,input,summary,[tabindex]')].every(e=>e.tabIndex>=0);
seen.drawn=document.querySelectorAll('figure svg rect').length;
seen.wide=document.documentElement.scrollWidth<=innerWidth;
filter.value='';filter.dispatchEvent(new Event('input'));document.querySelector('td a').click();
const box=document.getElementById('e1').getBoundingClientRect();seen.linked=scrollY>0&&box.top>=0&&box.top<innerHeight;
seen.wrong=wrong;
document.title=JSON.stringify(seen);</script>";

/// The sample, and as many growths more as make a timeline that can be zoomed.
fn busy_file() -> (TempDir, String) {
    let mut records = sample();
    records.extend(
        (0..40).map(|step| call(Outcome::PassedThrough, 10_000 + step * 3_000, 1, NEW as i64)),
    );
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "b.mremap", &trace_bytes(&header(42, 1), &records));
    (directory, path.display().to_string())
}

fn page_of(directory: &TempDir, trace: &str) -> String {
    let page = directory.path().join("page.html");
    let output = analyzer(&["html", "-o", page.to_str().unwrap(), trace]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    fs::read_to_string(&page).unwrap()
}

/// The document as the browser has it once its scripts have run.
fn browse(chromium: &Path, page: &Path, width: u32) -> String {
    let profile = TempDir::new().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},900"))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

#[test]
fn the_page_stands_alone_and_can_be_read_without_its_script() {
    let (directory, file) = sample_file();
    let text = page_of(&directory, &file);
    let markup = text.split("<script>").next().unwrap();
    for expected in [
        "/usr/bin/mover",
        "id=\"timeline\"",
        "kept</text>",
        "EFAULT",
        "mover+0x2234",
        "needs Linux 6.17 or the shim",
        "href=\"#e1\"",
        "id=\"e1\"",
    ] {
        assert!(markup.contains(expected), "{expected}");
    }
    let links = text.replace("http://www.w3.org/2000/svg", "");
    assert!(!links.contains("http://") && !links.contains("https://"), "it loads nothing");
}

#[test]
fn in_a_browser_it_sorts_zooms_filters_and_nothing_goes_wrong() {
    let Some(chromium) = need::program("chromium-headless-shell", "chromium-headless-shell") else {
        return;
    };
    let (directory, file) = busy_file();
    let text = page_of(&directory, &file);
    let tested = directory.path().join("tested.html");
    let text = text.replace("<head>", &format!("<head>{BEFORE}"));
    fs::write(&tested, text.replace("</body>", &format!("{USE}</body>"))).unwrap();
    for width in [1200, 500] {
        let dom = browse(&chromium, &tested, width);
        let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        let title = title.unwrap_or_default().replace("&amp;", "&");
        let seen: serde_json::Value =
            serde_json::from_str(&title).unwrap_or_else(|error| panic!("{error}: {dom}"));
        assert_eq!(seen["wrong"], serde_json::json!([]), "{seen}");
        assert_eq!(seen["last"], serde_json::json!(["42", "41"]), "{seen}");
        assert_eq!(seen["first"], serde_json::json!(["1", "2"]), "{seen}");
        assert_eq!(seen["sorted"], "ascending", "{seen}");
        assert_eq!(seen["filtered"], serde_json::json!(["EFAULT"]), "{seen}");
        assert_eq!(seen["shown"], "1 shown", "{seen}");
        for what in ["zoomed", "back", "focus", "wide", "linked"] {
            assert_eq!(seen[what], true, "{what} at {width}: {seen}");
        }
        assert!(seen["drawn"].as_u64() > Some(5), "{seen}");
    }
}
