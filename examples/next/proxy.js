import { NextResponse } from 'next/server';

// What Next.js called middleware until version 15. A rule matches the path that the visitor sees, not the one that this
// leads to.
export function proxy(request) {
  const { nextUrl } = request;
  const rewritten = nextUrl.pathname.match(/^\/rewritten\/([^/]+)$/);
  if (rewritten) {
    const url = nextUrl.clone();
    url.pathname = `/blog/${rewritten[1]}`;
    return NextResponse.rewrite(url);
  }
  const moved = nextUrl.pathname.match(/^\/moved\/([^/]+)$/);
  if (moved) {
    const url = nextUrl.clone();
    url.pathname = `/blog/${moved[1]}`;
    return NextResponse.redirect(url);
  }
  const response = NextResponse.next();
  response.headers.set('x-example-proxy', 'seen');
  return response;
}

export const config = {
  matcher: ['/rewritten/:path*', '/moved/:path*', '/blog/:path*', '/legacy/:path*'],
};
