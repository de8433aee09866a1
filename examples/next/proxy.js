import { NextResponse } from 'next/server';

// What Next.js called middleware until version 15. A rule matches the path that the visitor sees, not the one that this
// leads to.
export function proxy(request) {
  const { nextUrl } = request;
  const [, leads, to] = nextUrl.pathname.match(/^\/(rewritten|moved)(\/[^/]+\/[^/]+)$/) ?? [];
  const url = nextUrl.clone();
  if (leads) {
    url.pathname = to;
  }
  if (leads === 'rewritten') {
    return NextResponse.rewrite(url);
  }
  if (leads === 'moved') {
    return NextResponse.redirect(url);
  }
  const response = NextResponse.next();
  response.headers.set('x-example-proxy', 'seen');
  return response;
}

export const config = {
  matcher: ['/rewritten/:path*', '/moved/:path*', '/blog/:path*', '/legacy/:path*'],
};
