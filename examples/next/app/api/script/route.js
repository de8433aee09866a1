import { counts, tell } from '../../../lib/script';

export const dynamic = 'force-dynamic';

export async function GET(request) {
  return Response.json(counts(request.nextUrl.searchParams.get('path')));
}

export async function POST(request) {
  const { path, ...orders } = await request.json();
  return Response.json(tell(path, orders));
}
