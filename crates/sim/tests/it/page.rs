//! The page is whole, needs nothing from elsewhere, and no name becomes markup.

use drover_sim::page::page;
use drover_sim::{Cluster, run};

use crate::fixture::*;

#[test]
fn a_page_stands_alone_and_escapes_every_name() {
    let wicked = "<script>\"&'";
    let mut settings = with_rule(overload(), rule("cpu.usage_active > 60"));
    let (mut hosts, mut guests) =
        (settings.cluster.hosts().to_vec(), settings.cluster.guests().to_vec());
    hosts[1].name = format!("{wicked}h2");
    guests[0].name = format!("{wicked}vm1");
    let mut wanted = drover_sim::Trace::new();
    for (guest, cores) in [(&guests[0].name, 3.0), (&guests[1].name, 3.0)] {
        wanted.push(guest, drover_sim::Step { at: secs(0), cores, memory: None }).unwrap();
    }
    settings.trace = wanted;
    settings.cluster = Cluster::new(hosts, guests).unwrap();
    let before = run(settings.still()).unwrap();
    let after = run(settings).unwrap();
    assert_eq!(after.figures.moves, 1);
    let text = page(wicked, &[("nobody", &before), (wicked, &after)], &[wicked.to_owned()]);
    assert!(!text.contains("<script"), "markup from a name");
    assert!(text.contains("&lt;script&gt;&quot;&amp;&#39;vm1"));
    assert_eq!(text.matches("<svg").count(), 4);
    for part in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!text.contains(part), "{part}: nothing may come from elsewhere");
    }
    assert!(!text.contains("NaN") && !text.contains("inf"), "every number is one");
    for tag in ["table", "svg", "figure", "div", "ul", "body", "html"] {
        let open = text.matches(&format!("<{tag}")).count();
        assert_eq!(open, text.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn a_page_of_nothing_is_a_page() {
    assert!(page("t", &[], &[]).ends_with("</html>\n"));
}
