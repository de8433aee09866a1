import Link from 'next/link';

// Links to pages of each kind, on every page: a walk through the site needs no other way.
const APP = ['/blog/walk', '/rewritten/blog/walk-rewritten', '/moved/blog/walk-moved', '/own/walk-own', '/tagged/walk-tagged'];
const PAGES = [
  '/account/walk-account',
  '/rewritten/account/walk-account-rewritten',
  '/moved/account/walk-account-moved',
  '/legacy/walk-legacy',
  '/rewritten/legacy/walk-legacy-rewritten',
];

// The links of one router, and one that leads to the other.
function Walk({ paths }) {
  return (
    <nav>
      {paths.map((path) => <Link key={path} href={path}>{path}</Link>)}
    </nav>
  );
}

export function WalkOfApp() {
  return <Walk paths={[...APP, PAGES[0]]} />;
}

export function WalkOfPages() {
  return <Walk paths={[...PAGES, APP[0]]} />;
}
