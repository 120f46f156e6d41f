"""The looks of the reference page. No file of its own: the page is served in one piece."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1c2330; --quiet: #5b6577; --line: #e3e7ee; --raised: #f6f8fb;
  --link: #0b5fc4; --post: #0a6b57; --get: #0b5fc4; --delete: #b3261e; --must: #a3460b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161d; --ink: #e4e8ef; --quiet: #99a4b6; --line: #2a3240; --raised: #1a202a;
    --link: #7db4ff; --post: #5fd0b5; --get: #7db4ff; --delete: #ff8f86; --must: #f0a868;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0 auto; max-width: 78rem; padding: 0 1.25rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere;
}
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
code, pre { font: .875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
p code, li code, dd code { background: var(--raised); border-radius: .25rem; padding: .1em .3em; }
pre {
  background: var(--raised); border: 1px solid var(--line); border-radius: .5rem;
  padding: .875rem 1rem; overflow-x: auto; overflow-wrap: normal;
}
h1 { font-size: 2rem; line-height: 1.2; margin: 2.5rem 0 .5rem; }
h1 small { color: var(--quiet); font-size: .9rem; font-weight: 400; }
h2 { font-size: 1.4rem; margin: 3rem 0 1rem; padding-bottom: .4rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 0; }
h4 { font-size: .8rem; letter-spacing: .05em; text-transform: uppercase; color: var(--quiet);
  margin: 1.5rem 0 .25rem; }
h4 code { text-transform: none; letter-spacing: 0; }
p { margin: .5rem 0; max-width: 68ch; }
ul { margin: .5rem 0; padding-left: 1.25rem; max-width: 68ch; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li { padding: .2rem 0; font-size: .9rem; }
nav strong { display: block; margin-top: 1rem; color: var(--quiet); font-size: .8rem; }
nav summary { font-weight: 600; cursor: pointer; padding: .5rem 0; }
article { border: 1px solid var(--line); border-radius: .75rem; padding: 1.1rem 1.25rem;
  margin: 1rem 0; }
article:target { border-color: var(--link); }
.call { display: flex; flex-wrap: wrap; gap: .3rem .7rem; align-items: baseline; }
.call code { font-size: 1rem; font-weight: 600; }
.method { font: 700 .8rem ui-monospace, Menlo, Consolas, monospace; }
.POST { color: var(--post); } .GET { color: var(--get); } .DELETE { color: var(--delete); }
.fields { margin: .25rem 0 0; max-width: none; }
.fields > div { border-top: 1px solid var(--line); padding: .55rem 0; }
.fields dt { display: flex; flex-wrap: wrap; gap: .1rem .6rem; align-items: baseline; }
.fields dt > code { font-weight: 600; }
.fields dd { margin: .1rem 0 0; color: var(--ink); }
.fields dd p { margin: 0; }
.type, .range { color: var(--quiet); font-size: .875rem; }
.must, .old { font-size: .75rem; font-weight: 600; }
.must { color: var(--must); } .old { color: var(--quiet); text-decoration: line-through; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .925rem; overflow-wrap: normal; }
th { text-align: left; color: var(--quiet); font-size: .8rem; font-weight: 600; }
th, td { border-bottom: 1px solid var(--line); padding: .5rem .75rem .5rem 0;
  vertical-align: top; }
td:last-child { min-width: 14rem; overflow-wrap: anywhere; }
details.errors { margin-top: 1.25rem; }
details.errors summary { cursor: pointer; color: var(--quiet); font-size: .9rem; }
@media (min-width: 62rem) {
  .page { display: grid; grid-template-columns: 15rem minmax(0, 1fr); gap: 3rem; }
  nav ::details-content { content-visibility: visible; block-size: auto; }
  nav { position: sticky; top: 0; max-height: 100vh; overflow-y: auto; padding: 2rem 0; }
  .fields > div { display: grid; grid-template-columns: minmax(0, 20rem) minmax(0, 1fr);
    gap: 0 1.5rem; }
  .fields dd { margin: 0; }
}
"""
