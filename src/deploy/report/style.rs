//! The look of the page. Light on paper, and on a screen what the reader's system asks for.

/// CSS inside the file; no font, picture or script is fetched.
pub(super) const CSS: &str = "
:root{color-scheme:light dark;--page:#F3F5F7;--card:#FFFFFF;--text:#1A2027;--soft:#444E5A;--muted:#5A6572;--edge:#C3CAD3;--grid:#E6EAEE;
--stripe:#F7F8FA;--well:#F0F2F5;--accent:#A34F1C;--accent-soft:#FBEBE0;--measured:#0B6E63;--predicted:#2B5CBE;--assumed:#6B4CAE;
--pass:#1B763D;--pass-soft:#E0F3E6;--unclear:#8A5900;--unclear-soft:#FDF1D8;--fail:#B92C24;--fail-soft:#FCE7E4}
@media screen and (prefers-color-scheme:dark){:root{--page:#14171B;--card:#1B1F25;--text:#E8EBEF;--soft:#B4BCC7;--muted:#939DAA;--edge:#3B434E;
--grid:#2B313A;--stripe:#1F242B;--well:#101317;--accent:#E39664;--accent-soft:#3A2A20;--measured:#4FBFAF;--predicted:#84AEF2;--assumed:#BBA3E0;
--pass:#6CC485;--pass-soft:#1C3325;--unclear:#E5B24F;--unclear-soft:#362D18;--fail:#F28075;--fail-soft:#3B2222}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 'IBM Plex Sans',system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1060px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:0 0 12px}
h3{font-size:15px;margin:20px 0 8px}
p{margin:0 0 10px;max-width:76ch;overflow-wrap:anywhere}
.byline{color:var(--muted);margin-bottom:16px}
.answer{font-size:18px;line-height:1.45;border-left:4px solid var(--accent);padding:2px 0 2px 16px;margin:16px 0 20px;max-width:none}
.note{color:var(--muted);font-size:13px;max-width:110ch}
td span.note{white-space:nowrap}
section,header{background:var(--card);border:1px solid var(--grid);border-radius:8px;padding:20px 24px;margin:0 0 16px}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:0 32px;margin:0 0 8px}
.facts div{display:flex;justify-content:space-between;gap:16px;border-bottom:1px solid var(--grid);padding:5px 0}
.facts .long{grid-column:1/-1}
.facts dt{color:var(--muted);flex:none}
.facts dd{margin:0;text-align:right;overflow-wrap:anywhere;min-width:0}
.origin{font-size:12px;font-weight:400;white-space:nowrap}
.origin.measured{color:var(--measured)}.origin.predicted,td.predicted{color:var(--predicted)}.origin.assumed{color:var(--assumed)}
td.predicted{font-style:italic}
.verdict{font-weight:600;font-size:13px;white-space:nowrap;border-radius:4px;padding:2px 8px}
.pass{color:var(--pass);background:var(--pass-soft)}.unclear{color:var(--unclear);background:var(--unclear-soft)}.fail{color:var(--fail);background:var(--fail-soft)}
.wide{overflow-x:auto;margin:0 0 12px}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:6px 10px;text-align:left;border-bottom:1px solid var(--grid);vertical-align:top}
thead th{color:var(--muted);font-weight:600;vertical-align:bottom;line-height:1.3;border-bottom-color:var(--edge)}
tbody th{font-weight:600;white-space:nowrap;max-width:260px;overflow:hidden;text-overflow:ellipsis}
tbody tr:nth-child(even){background:var(--stripe)}
td.number,thead th.number{text-align:right;white-space:nowrap}
td.missing{color:var(--muted)}
.path{list-style:none;margin:0 0 16px;padding:0;counter-reset:step}
.path li{counter-increment:step;position:relative;padding:0 0 12px 36px}
.path li::before{content:counter(step);position:absolute;left:0;top:0;width:24px;height:24px;border-radius:12px;background:var(--accent-soft);color:var(--accent);
text-align:center;font-weight:600;font-size:13px;line-height:24px}
.path li:not(:last-child)::after{content:'';position:absolute;left:11px;top:26px;bottom:2px;border-left:2px solid var(--accent-soft)}
.path b{color:var(--accent)}
.path .why{color:var(--muted);display:block;font-size:13px}
.warnings{list-style:none;margin:0 0 12px;padding:8px 14px;border-radius:6px;background:var(--unclear-soft);font-size:14px}
.plots{display:grid;grid-template-columns:1fr;gap:8px}
figure{margin:0}
figcaption{font-weight:600;margin:12px 0 2px}
svg{display:block;width:100%;height:auto;max-width:860px}
.command{background:var(--well);border-radius:6px;padding:8px 12px;margin:4px 0 10px;white-space:pre-wrap;overflow-wrap:anywhere;font:12.5px/1.5 'IBM Plex Mono',ui-monospace,
Consolas,'DejaVu Sans Mono',monospace}
code{font-family:'IBM Plex Mono',ui-monospace,Consolas,'DejaVu Sans Mono',monospace}
.token{font-family:'IBM Plex Mono',ui-monospace,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;background:var(--well);border-radius:3px;padding:0 4px;white-space:pre-wrap;
overflow-wrap:anywhere}
.context{font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere;min-width:240px}
.hash{font-family:'IBM Plex Mono',ui-monospace,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;overflow-wrap:anywhere}
footer{color:var(--muted);font-size:13px}
@page{margin:14mm}
@media print{
body{background:#fff;font-size:10pt}
main{max-width:none;padding:0}
section,header{border:0;border-radius:0;padding:0;margin:0 0 8mm}
h2{border-bottom:1px solid var(--edge);padding-bottom:3px}
h2,h3,figcaption{break-after:avoid}
figure,tr,.path li,.gates{break-inside:avoid}
thead{display:table-header-group}
table{font-size:8pt}th,td{padding:3px 5px}
.wide{overflow:visible}
tbody th{white-space:normal;overflow-wrap:break-word;min-width:58px;max-width:none}
.answer{font-size:12pt}
svg{max-width:168mm;margin:0 auto}
.context{min-width:0}
.facts{grid-template-columns:1fr 1fr}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
";
